"""Hiera with its feature pyramid, the image encoder of SAM 2 (Ravi et al., "SAM 2", 2024; Ryali et al., "Hiera", 2023).

Shape legend: B images (or windows), H, W token grid, L = H · W tokens, C channels, N heads, D head channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import AttentionProducts, window_partition, window_unpartition
from samlet.models.chunking import gelu_, in_chunks, plus_
from samlet.models.embedding import Embedding, Maps, maps_of
from samlet.models.encoders.encoder import ImageEncoder
from samlet.models.encoders.hiera.config import HieraConfig
from samlet.models.groups import (
    ChannelGroup,
    Member,
    Segment,
    attention_groups,
    columns,
    mlp_group,
    norm,
    rows_and_bias,
    stream_groups,
)

_EPS = 1e-6
_TABLE = 8  # side of the table of positions that is repeated over the image, patches; that of a window of stage 0


def _halved(x_BHWC: Tensor) -> Tensor:
    """Maximum over every 2×2 tokens: (B, H, W, C) to (B, H / 2, W / 2, C)."""
    return F.max_pool2d(x_BHWC.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class HieraAttention(nn.Module):
    """Multi-head attention over a (B, H, W, C) grid; with `pools`, queries are the maxima of every 2×2 tokens.

    The rows of `qkv` are ([q, k, v], head).
    """

    def __init__(
        self, dim: int, out_dim: int, heads: int, qk_dim: int, v_dim: int, scale_dim: int, pools: bool
    ) -> None:
        super().__init__()
        self.heads, self.qk_dim, self.v_dim, self.pools = heads, qk_dim, v_dim, pools
        self.scale = scale_dim**-0.5
        self.qkv = nn.Linear(dim, heads * (2 * qk_dim + v_dim))
        self.proj = nn.Linear(heads * v_dim, out_dim)
        self.products = AttentionProducts(keys_per_query=4 if pools else 1)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return in_chunks(self._attend, x_BHWC, x_BHWC.shape[1] * x_BHWC.shape[2] * self.qkv.out_features)

    def _attend(self, x_BHWC: Tensor) -> Tensor:
        parts = self.qkv(x_BHWC).split([self.heads * dim for dim in (self.qk_dim, self.qk_dim, self.v_dim)], dim=-1)
        q_BHWC = _halved(parts[0]) if self.pools else parts[0]
        q, k, v = (part.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q_BHWC, *parts[1:]))
        out = self.products(q, k, v, self.scale)  # (B, N, L, D)
        return self.proj(out.transpose(1, 2).flatten(2).unflatten(1, (q_BHWC.shape[1], q_BHWC.shape[2])))


class HieraMLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return in_chunks(self._on_tokens, x.flatten(0, 2), self.fc1.out_features).view_as(x)

    def _on_tokens(self, x: Tensor) -> Tensor:
        return self.fc2(gelu_(self.fc1(x)))


class HieraBlock(nn.Module):
    """Pre-norm transformer block over windows, or over the whole image where `window_size` is 0.

    One that opens a stage halves the grid, of (B, H, W, C) tokens of the stage before to (B, H / 2, W / 2, out). What
    fills up incomplete windows is not masked: its keys and values are the biases, as in the published model.
    """

    proj: nn.Linear | None

    def __init__(self, config: HieraConfig, stage: int, index: int) -> None:
        super().__init__()
        opens = stage > 0 and index == 0
        before, dim = config.embed_dims[stage - opens], config.embed_dims[stage]
        is_global = sum(config.depths[:stage]) + index in config.global_blocks
        self.window_size = 0 if is_global else config.window_sizes[stage - opens]
        self.norm1 = nn.LayerNorm(before, eps=_EPS)
        self.attn = HieraAttention(
            before,
            dim,
            config.num_heads[stage][index],
            config.qk_dims[stage][index],
            config.v_dims[stage][index],
            config.scale_dim,
            pools=opens,
        )
        self.proj = nn.Linear(before, dim) if opens else None
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = HieraMLP(dim, config.mlp_dims[stage][index])

    def forward(self, x_BHWC: Tensor) -> Tensor:
        y = self.norm1(x_BHWC)
        shortcut = x_BHWC if self.proj is None else _halved(self.proj(y))
        grid = (shortcut.shape[1], shortcut.shape[2])
        if self.window_size:
            windows, padded = window_partition(y, self.window_size)
            factor = 1 if self.proj is None else 2
            y = window_unpartition(self.attn(windows), (padded[0] // factor, padded[1] // factor), grid)
        else:
            y = self.attn(y)
        x_BHWC = plus_(y, shortcut)
        return plus_(self.mlp(self.norm2(x_BHWC)), x_BHWC)


class HieraPatches(nn.Module):
    """(B, 3, H, W) to (B, H / 4, W / 4, C): overlapping patches, and where they are.

    A place is the sum of a table resampled to the whole image and of one repeated for every window of stage 0.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 7, stride=4, padding=3)
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, side, side))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, dim, _TABLE, _TABLE))

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image)
        height, width = x.shape[2:]
        whole = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic", align_corners=False)
        window = self.pos_embed_window.tile(height // _TABLE, width // _TABLE)
        return (x + whole + window).permute(0, 2, 3, 1)


class Pyramid(nn.Module):
    """Outputs of the four stages to the maps of the embedding.

    Stride 16 is the sum of the stages of strides 16 and 32, each by a 1×1 convolution, and of a constant, which in
    videos is the memory; strides 8 and 4 pass two 1×1 convolutions each, of which the second was published with the
    decoder.
    """

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        dims, out = config.embed_dims, config.out_channels
        self.lateral = nn.ModuleList(
            nn.Conv2d(dim, width, 1)
            for dim, width in zip(dims, (*reversed(config.lateral_dims), out, out), strict=True)
        )
        self.fine = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width, channels in zip(config.lateral_dims, config.fine_dims, strict=True)
        )
        self.no_memory = nn.Parameter(torch.zeros(out))

    def forward(self, stages_BHWC: Sequence[Tensor]) -> Maps:
        stages = [x.permute(0, 3, 1, 2) for x in stages_BHWC]
        coarse = F.interpolate(self.lateral[3](stages[3]), scale_factor=2.0, mode="nearest")
        image = self.lateral[2](stages[2]) + coarse + self.no_memory[:, None, None]
        return Maps([image, self.fine[0](self.lateral[1](stages[1])), self.fine[1](self.lateral[0](stages[0]))])


class HieraEncoder(ImageEncoder):
    """SAM 2's image encoder: (B, 3, H, W) normalised image to maps of strides 16, 8 and 4; H, W multiples of 32."""

    config: HieraConfig

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = HieraPatches(config.embed_dims[0], config.position_side)
        self.blocks = nn.ModuleList(HieraBlock(config, stage, i) for stage, i in self._places())
        self.neck = Pyramid(config)

    def _places(self) -> list[tuple[int, int]]:
        """Stage and number within it of every block."""
        return [(stage, i) for stage, depth in enumerate(self.config.depths) for i in range(depth)]

    def forward(self, image: Tensor) -> Maps:
        x, stages = self.patch_embed(image), []
        for number, block in enumerate(self.blocks):
            if number in self.config.openings:
                stages.append(x)
            x = block(x)
        return self.neck([*stages, x])

    def segments(self) -> list[Segment]:
        """Patches, every block, the pyramid. Between them the stages that have ended stand behind the present one."""

        def run(number: int, block: nn.Module, state: Embedding) -> Embedding:
            x, *ended = maps_of(state)
            if number in self.config.openings:
                ended.append(x)
            return Maps([block(x), *ended])

        def finish(state: Embedding) -> Embedding:
            x, *ended = maps_of(state)
            return self.neck([*ended, x])

        blocks = [
            Segment((f"blocks.{i}",), lambda state, i=i, block=block: run(i, block, state))  # type: ignore[misc]
            for i, block in enumerate(self.blocks)
        ]
        return [Segment(("patch_embed",), self.patch_embed), *blocks, Segment(("neck",), finish)]

    def bottleneck_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's H: concatenated q, k, v and the MLP's hidden layer of every block."""
        return [f"blocks.{i}.{m}" for i in range(self.config.depth) for m in ("attn.qkv", "mlp.fc1")]

    def embedding_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's E: the output of every block."""
        return [f"blocks.{i}" for i in range(self.config.depth)]

    def channel_groups(self) -> list[ChannelGroup]:
        """A stream a stage; query/key, value, head and MLP groups in each block; the pyramid's inner widths.

        The blocks that attend to the whole image are a family of their own: their products cost the most by far.
        """
        config = self.config
        streams: list[list[Member]] = [[], [], [], []]
        streams[0] += rows_and_bias("patch_embed.proj")
        streams[0] += [Member(parameter=f"patch_embed.{table}", dim=1) for table in ("pos_embed", "pos_embed_window")]
        inside: list[ChannelGroup] = []
        for number, (stage, i) in enumerate(self._places()):
            block, stream = f"blocks.{number}", streams[stage]
            before = streams[stage - 1] if number in config.openings else stream
            before += norm(f"{block}.norm1") + columns(f"{block}.attn.qkv")
            if number in config.openings:
                before += columns(f"{block}.proj")
                stream += rows_and_bias(f"{block}.proj")
            stream += rows_and_bias(f"{block}.attn.proj") + norm(f"{block}.norm2")
            stream += columns(f"{block}.mlp.fc1") + rows_and_bias(f"{block}.mlp.fc2")
            inside += attention_groups(
                f"{block}.attn",
                config.num_heads[stage][i],
                config.qk_dims[stage][i],
                config.v_dims[stage][i],
                8,
                [("qk_dims", stage, i), ("v_dims", stage, i), ("num_heads", stage, i)],
                packed=False,
                stage=stage,
                family="global attention" if number in config.global_blocks else "attention",
            )
            inside.append(
                mlp_group(f"{block}.mlp", ("fc1", "fc2"), config.mlp_dims[stage][i], 8, ("mlp_dims", stage, i), stage)
            )
        for stage, stream in enumerate(streams):
            stream += columns(f"neck.lateral.{stage}")
        for level, width in enumerate(config.lateral_dims):
            lateral = f"neck.lateral.{1 - level}"
            inside.append(
                ChannelGroup(
                    name=f"neck.fine.{level}",
                    kind="bottleneck",
                    family="pyramid",
                    size=width,
                    divisor=8,
                    members=(*rows_and_bias(lateral), *columns(f"neck.fine.{level}")),
                    config_path=("lateral_dims", level),
                    stage=1 - level,
                )
            )
        return stream_groups(streams, config.embed_dims) + inside
