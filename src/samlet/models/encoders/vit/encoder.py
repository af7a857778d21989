"""SAM's ViTDet image encoder (segment-anything; Li et al., "Exploring Plain Vision Transformer Backbones", 2022).

Shape legend: B images (or windows), H, W token grid, L = H · W tokens, C channels, N heads, D head channels.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import AttentionProducts, Neck, window_partition, window_unpartition
from samlet.models.chunking import gelu_, in_chunks
from samlet.models.encoders.encoder import ImageEncoder
from samlet.models.encoders.vit.config import ViTConfig
from samlet.models.groups import (
    ChannelGroup,
    Member,
    Segment,
    attention_groups,
    columns,
    mlp_group,
    norm,
    rows_and_bias,
)

_STAGES = 4
_QUERY_CHUNK = 256  # rows of the position bias that exist at once: small enough to stay in a CPU's cache


def relative_positions(size: int, table: Tensor) -> Tensor:
    """Rows of a relative-position table for every pair of positions on one axis.

    Args:
        size: positions on the axis.
        table: (2 · trained size - 1, D); interpolated linearly where `size` asks for another length.

    Returns:
        (size, size, D): query position, key position.
    """
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None], size=2 * size - 1, mode="linear")[0].T
    positions = torch.arange(size, device=table.device)
    return table[positions[:, None] - positions[None, :] + size - 1]


class ViTAttention(nn.Module):
    """Multi-head attention over a (B, H, W, C) grid, with decomposed relative positions unless `grid` is None."""

    rel_pos_h: nn.Parameter | None
    rel_pos_w: nn.Parameter | None

    def __init__(
        self, dim: int, heads: int, qk_dim: int, v_dim: int, scale_dim: int, grid: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.heads, self.qk_dim, self.v_dim = heads, qk_dim, v_dim
        self.scale = scale_dim**-0.5
        self.qkv = nn.Linear(dim, heads * (2 * qk_dim + v_dim))
        self.proj = nn.Linear(heads * v_dim, dim)
        self.products = AttentionProducts()
        self.rel_pos_h = None if grid is None else nn.Parameter(torch.zeros(2 * grid[0] - 1, qk_dim))
        self.rel_pos_w = None if grid is None else nn.Parameter(torch.zeros(2 * grid[1] - 1, qk_dim))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        batch, height, width, _ = x_BHWC.shape
        widths = [self.heads * dim for dim in (self.qk_dim, self.qk_dim, self.v_dim)]
        parts = self.qkv(x_BHWC).flatten(1, 2).split(widths, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, N, L, D)

        if self.rel_pos_h is None or self.rel_pos_w is None:
            out = self.products(q, k, v, self.scale)
            return self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))
        q_grid = q.unflatten(2, (height, width))
        rel_h = torch.einsum("bnhwd,hkd->bnhwk", q_grid, relative_positions(height, self.rel_pos_h)).flatten(2, 3)
        rel_w = torch.einsum("bnhwd,wkd->bnhwk", q_grid, relative_positions(width, self.rel_pos_w)).flatten(2, 3)
        folds = q.requires_grad and type(self.products) is AttentionProducts  # others want q and k as they are
        attend_with = self._attend_folded if folds else self._attend_chunked
        out = attend_with(q, k, v, rel_h, rel_w)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))

    def _attend_chunked(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """For inference: the bias of a few query rows at a time, never the whole map."""
        pieces = [
            self.products(q_part, k, v, self.scale, bias=(h_part[..., :, None] + w_part[..., None, :]).flatten(-2))
            for q_part, h_part, w_part in zip(*(t.split(_QUERY_CHUNK, dim=2) for t in (q, rel_h, rel_w)), strict=True)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def _attend_folded(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """For training: the bias as extra query channels against one-hot key channels.

        q·k + rel_h[key row] + rel_w[key column] is one dot product, so the fused kernels, forward and backward, apply
        and no (L, L) tensor exists.
        """
        height, width = rel_h.shape[-1], rel_w.shape[-1]
        rows = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
        cols = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
        one_hot = torch.cat([rows, cols], dim=-1).expand(*k.shape[:2], -1, -1)
        q = torch.cat([q * self.scale, rel_h, rel_w], dim=-1)
        return self.products(q, torch.cat([k, one_hot], dim=-1), v, scale=1.0)


class ViTMLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return in_chunks(self._on_tokens, x.flatten(0, 2), self.lin1.out_features).view_as(x)

    def _on_tokens(self, x: Tensor) -> Tensor:
        return self.lin2(gelu_(self.lin1(x)))


class ViTBlock(nn.Module):
    """Pre-norm transformer block, over windows unless `window_size` is 0."""

    def __init__(self, config: ViTConfig, index: int) -> None:
        super().__init__()
        self.window_size = 0 if index in config.global_blocks else config.window_size
        side = self.window_size or config.image_size // config.patch_size
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = ViTAttention(
            config.embed_dim,
            config.num_heads[index],
            config.qk_dims[index],
            config.v_dims[index],
            config.scale_dim,
            (side, side) if config.relative_positions else None,
        )
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = ViTMLP(config.embed_dim, config.mlp_dims[index])

    def forward(self, x_BHWC: Tensor) -> Tensor:
        grid = (x_BHWC.shape[1], x_BHWC.shape[2])
        y = self.norm1(x_BHWC)
        if self.window_size:
            y, padded = window_partition(y, self.window_size)
            y = window_unpartition(self.attn(y), padded, grid)
        else:
            y = self.attn(y)
        x_BHWC = x_BHWC + y
        return x_BHWC + self.mlp(self.norm2(x_BHWC))


class PatchEmbed(nn.Module):
    """(B, 3, H · patch, W · patch) to (B, H, W, C)."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class ViTEncoder(ImageEncoder):
    """SAM's image encoder: (B, 3, H, W) normalised image to (B, out_channels, H / 16, W / 16) image embedding.

    Any H and W that are multiples of the patch size; position tables are interpolated.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        side = config.position_side or config.image_size // config.patch_size
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.embed_dim))
        self.blocks = nn.ModuleList(ViTBlock(config, i) for i in range(config.depth))
        self.neck = Neck(config.embed_dim, config.out_channels)

    def _positions(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2)
        return F.interpolate(table, size=(height, width), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self._embedded(image)
        for block in self.blocks:
            x = block(x)
        return self._embedding(x)

    def _embedded(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        return x + self._positions(x.shape[1], x.shape[2])

    def _embedding(self, x_BHWC: Tensor) -> Tensor:
        return self.neck(x_BHWC.permute(0, 3, 1, 2))

    def segments(self) -> list[Segment]:
        """Patches with their positions, every block, the neck."""
        blocks = [Segment((f"blocks.{i}",), block) for i, block in enumerate(self.blocks)]
        return [Segment(("patch_embed",), self._embedded), *blocks, Segment(("neck",), self._embedding)]

    def bottleneck_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's H: concatenated q, k, v and the MLP's hidden layer of every block."""
        return [f"blocks.{i}.{m}" for i in range(self.config.depth) for m in ("attn.qkv", "mlp.lin1")]

    def embedding_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's E: the output of every block."""
        return [f"blocks.{i}" for i in range(self.config.depth)]

    def channel_groups(self) -> list[ChannelGroup]:
        """One embedding group, and for each block query/key, value, whole heads and MLP hidden.

        A stage is a quarter of the blocks; in SAM's own encoders each ends with a block of global attention.
        """
        config, width = self.config, math.lcm(8, max(self.config.num_heads))
        if config.embed_dim % width:  # heads were cut before
            width = 8
        embedding = [*rows_and_bias("patch_embed.proj"), Member(parameter="pos_embed", dim=3), *columns("neck.0")]
        groups: list[ChannelGroup] = []
        for i in range(config.depth):
            block, stage = f"blocks.{i}", _STAGES * i // config.depth
            embedding += norm(f"{block}.norm1") + columns(f"{block}.attn.qkv") + rows_and_bias(f"{block}.attn.proj")
            embedding += norm(f"{block}.norm2") + columns(f"{block}.mlp.lin1") + rows_and_bias(f"{block}.mlp.lin2")
            qk, v, heads = attention_groups(
                f"{block}.attn",
                config.num_heads[i],
                config.qk_dims[i],
                config.v_dims[i],
                2,
                [("qk_dims", i), ("v_dims", i), ("num_heads", i)],
                packed=False,
                stage=stage,
            )
            axes = "hw" if config.relative_positions else ""
            tables = tuple(Member(parameter=f"{block}.attn.rel_pos_{axis}", dim=1) for axis in axes)
            groups += [dataclasses.replace(qk, members=qk.members + tables), v, heads]
            groups.append(
                mlp_group(f"{block}.mlp", ("lin1", "lin2"), config.mlp_dims[i], width, ("mlp_dims", i), stage)
            )
        stream = ChannelGroup(
            name="embedding",
            kind="embedding",
            family="embedding",
            size=config.embed_dim,
            divisor=width,
            members=tuple(embedding),
            config_path=("embed_dim",),
        )
        return [stream, *groups]
