"""The TinyViT image encoder of MobileSAM and TinySAM (Wu et al., "TinyViT", ECCV 2022), batch norms folded.

Everything stays channels-last: tokens (B, L, C) and convolution inputs (B, C, H, W) are views of one memory layout.

Shape legend: B images (or windows), H, W token grid, L tokens of a window or map, C channels, N heads, D head channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from samlet.models.building_blocks import (
    AttentionProducts,
    Neck,
    to_map,
    to_tokens,
    window_partition,
    window_unpartition,
)
from samlet.models.chunking import gelu_, in_chunks
from samlet.models.convolutions import InvertedBottleneck, Stem, depthwise
from samlet.models.encoders.encoder import ImageEncoder
from samlet.models.encoders.tiny_vit.config import TinyViTConfig
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
from samlet.models.modes import computes_for_graph


class WindowAttention(nn.Module):
    """Attention inside windows of `size`² tokens with one learned bias for each head and offset.

    The rows of `qkv` are packed by head: (head, [q, k, v]).
    """

    offsets: Tensor

    def __init__(self, dim: int, heads: int, qk_dim: int, v_dim: int, scale_dim: int, size: int) -> None:
        super().__init__()
        self.heads, self.qk_dim, self.v_dim = heads, qk_dim, v_dim
        self.scale = scale_dim**-0.5
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, heads * (2 * qk_dim + v_dim))
        self.proj = nn.Linear(heads * v_dim, dim)
        self.products = AttentionProducts()
        self.attention_biases = nn.Parameter(torch.zeros(heads, size * size))
        row, col = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        row, col = row.flatten(), col.flatten()
        distance = (row[:, None] - row).abs() * size + (col[:, None] - col).abs()
        self.register_buffer("offsets", distance, persistent=False)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return in_chunks(self._attend, x_BLC, x_BLC.shape[1] * self.qkv.out_features)

    def _attend(self, x_BLC: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x_BLC))
        if computes_for_graph() and self.qk_dim == self.v_dim:
            # cutting the first axis costs runtimes nothing, cutting the channels of every token does
            q, k, v = qkv.unflatten(-1, (self.heads, 3, self.qk_dim)).permute(3, 0, 2, 1, 4).split(1)
            q, k, v = q.squeeze(0), k.squeeze(0), v.squeeze(0)
        else:
            by_head = qkv.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            q, k, v = by_head.split([self.qk_dim, self.qk_dim, self.v_dim], dim=-1)
        out = self.products(q, k, v, self.scale, bias=self.attention_biases[:, self.offsets])
        return self.proj(out.transpose(1, 2).flatten(2))


class TinyViTMLP(nn.Module):
    """Pre-norm MLP with GELU."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        if computes_for_graph():  # three axes: norm and rounding then become one operation
            return self._on_tokens(x)
        return in_chunks(self._on_tokens, x.flatten(0, 1), self.fc1.out_features).view_as(x)

    def _on_tokens(self, x: Tensor) -> Tensor:
        return self.fc2(gelu_(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Windowed attention, depthwise convolution, MLP. (B, C, H, W) channels-last to the same."""

    def __init__(self, config: TinyViTConfig, stage: int, index: int) -> None:
        super().__init__()
        dim, at = config.embed_dims[stage], stage - 1
        self.window_size = config.window_sizes[at]
        self.attn = WindowAttention(
            dim,
            config.num_heads[at][index],
            config.qk_dims[at][index],
            config.v_dims[at][index],
            config.scale_dim,
            self.window_size,
        )
        self.local_conv = depthwise(dim)
        self.mlp = TinyViTMLP(dim, config.mlp_dims[at][index])

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2], x.shape[3]
        x_BLC = to_tokens(x)
        windows, padded = window_partition(x_BLC.unflatten(1, size), self.window_size)
        attended = self.attn(windows.flatten(1, 2)).view_as(windows)
        x_BLC = x_BLC + window_unpartition(attended, padded, size).flatten(1, 2)
        x_BLC = to_tokens(self.local_conv(to_map(x_BLC, size)))
        return to_map(x_BLC + self.mlp(x_BLC), size)


class Stage(nn.Module):
    """Blocks, then the merging that leads to the next stage, if any."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViTEncoder(ImageEncoder):
    """(B, 3, H, W) normalised image to (B, out_channels, H / 16, W / 16) image embedding; H, W multiples of 16."""

    def __init__(self, config: TinyViTConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.embed_dims
        self.patch_embed = Stem(config.stem_dim, dims[0])
        self.layers = nn.ModuleList()
        for stage in range(4):
            blocks: list[nn.Module]
            if stage == 0:
                blocks = [InvertedBottleneck(dims[0], h, dims[0], 1, residual=True) for h in config.mbconv_dims]
            else:
                blocks = [TinyViTBlock(config, stage, i) for i in range(len(config.num_heads[stage - 1]))]
            merging = None
            if stage < 3:
                merging = InvertedBottleneck(
                    dims[stage], config.merge_dims[stage], dims[stage + 1], config.merge_strides[stage], residual=False
                )
            self.layers.append(Stage(blocks, merging))
        self.neck = Neck(dims[3], config.out_channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)

    def segments(self) -> list[Segment]:
        """The stem, every block and merging, the neck."""
        names = ["patch_embed"]
        for stage in range(4):
            names += [block for at, _, block in self._block_names() if at == stage]
            names += [f"layers.{stage}.downsample"] if stage < 3 else []
        return [Segment((name,), self.get_submodule(name)) for name in (*names, "neck")]

    def _block_names(self) -> list[tuple[int, int, str]]:
        return [
            (stage, i, f"layers.{stage}.blocks.{i}")
            for stage in range(4)
            for i in range(len(self.config.mbconv_dims if stage == 0 else self.config.num_heads[stage - 1]))
        ]

    def bottleneck_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's H, the inside of every block: q, k, v; MLP hidden; MBConv hidden."""
        names = []
        for stage, _, block in self._block_names():
            names += [f"{block}.conv2"] if stage == 0 else [f"{block}.attn.qkv", f"{block}.mlp.fc1"]
        return names

    def embedding_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's E: the output of every block."""
        return [block for _, _, block in self._block_names()]

    def channel_groups(self) -> list[ChannelGroup]:
        """One embedding group a stage; stem, MBConv, merging, query/key, value, head and MLP groups inside."""
        config = self.config
        streams = [rows_and_bias("patch_embed.conv2"), [], [], columns("neck.0")]
        bottlenecks = [
            ChannelGroup(
                name="patch_embed.stem",
                kind="bottleneck",
                family="stem",
                size=config.stem_dim,
                divisor=8,
                members=(*rows_and_bias("patch_embed.conv1"), *columns("patch_embed.conv2")),
                config_path=("stem_dim",),
            )
        ]
        for stage, i, block in self._block_names():
            stream = streams[stage]
            if stage == 0:
                stream += columns(f"{block}.conv1") + rows_and_bias(f"{block}.conv3")
                bottlenecks.append(_inverted_bottleneck(block, config.mbconv_dims[i], ("mbconv_dims", i), stage))
                continue
            at = stage - 1
            stream += norm(f"{block}.attn.norm") + columns(f"{block}.attn.qkv") + rows_and_bias(f"{block}.attn.proj")
            stream += rows_and_bias(f"{block}.local_conv")
            stream += norm(f"{block}.mlp.norm") + columns(f"{block}.mlp.fc1") + rows_and_bias(f"{block}.mlp.fc2")
            qk, v, heads = attention_groups(
                f"{block}.attn",
                config.num_heads[at][i],
                config.qk_dims[at][i],
                config.v_dims[at][i],
                4,
                [("qk_dims", at, i), ("v_dims", at, i), ("num_heads", at, i)],
                packed=True,
                stage=stage,
            )
            biases = Member(parameter=f"{block}.attn.attention_biases", dim=0)
            bottlenecks += [qk, v, dataclasses.replace(heads, members=(*heads.members, biases))]
            bottlenecks.append(
                mlp_group(f"{block}.mlp", ("fc1", "fc2"), config.mlp_dims[at][i], 8, ("mlp_dims", at, i), stage)
            )
        for stage in range(3):
            merging = f"layers.{stage}.downsample"
            streams[stage] += columns(f"{merging}.conv1")
            streams[stage + 1] += rows_and_bias(f"{merging}.conv3")
            bottlenecks.append(_inverted_bottleneck(merging, config.merge_dims[stage], ("merge_dims", stage), stage))
        return stream_groups(streams, config.embed_dims) + bottlenecks


def _inverted_bottleneck(block: str, size: int, config_path: tuple[str | int, ...], stage: int) -> ChannelGroup:
    return ChannelGroup(
        name=f"{block}.hidden",
        kind="bottleneck",
        family="convolution",
        size=size,
        divisor=8,
        members=(*rows_and_bias(f"{block}.conv1"), *rows_and_bias(f"{block}.conv2"), *columns(f"{block}.conv3")),
        config_path=config_path,
        stage=stage,
    )
