"""The straightforward module tree of MobileSAM's encoder, as an alternative to measure against.

Batch norms apart, explicit softmax attention, channels first, under the parameter names of the published state dict.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    def __init__(self, in_dim: int, out_dim: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(in_dim, out_dim, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out_dim))


class PlainMBConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(dim, 4 * dim), ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PlainMerging(nn.Module):
    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(dim, out_dim), ConvNorm(out_dim, out_dim, 3, stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class PlainAttention(nn.Module):
    index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = (place[:, None] - place[None]).abs()
        self.register_buffer("index", apart[..., 0] * window + apart[..., 1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, length, self.heads, -1)
        q, k, v = (part.permute(0, 2, 1, 3) for part in qkv.chunk(3, dim=-1))
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5 + self.attention_biases[:, self.index]
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, length, dim))


class PlainMLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class PlainBlock(nn.Module):
    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn, self.mlp = PlainAttention(dim, heads, window), PlainMLP(dim)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        side, size = int(length**0.5), self.window
        padded = -(-side // size) * size
        y = F.pad(x.view(batch, side, side, dim), (0, 0, 0, padded - side, 0, padded - side))
        count = padded // size
        y = y.view(batch, count, size, count, size, dim).transpose(2, 3).reshape(-1, size * size, dim)
        y = self.attn(y).view(batch, count, count, size, size, dim).transpose(2, 3)
        x = x + y.reshape(batch, padded, padded, dim)[:, :side, :side].reshape(batch, length, dim)
        image = x.transpose(1, 2).reshape(batch, dim, side, side)
        x = self.local_conv(image).view(batch, dim, length).transpose(1, 2)
        return x + self.mlp(x)


class PlainStage(nn.Module):
    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None, tokens: bool) -> None:
        super().__init__()
        self.blocks, self.downsample, self.tokens = nn.ModuleList(blocks), downsample, tokens

    def forward(self, x: Tensor) -> Tensor:
        if self.tokens:
            batch, dim, height, width = x.shape
            x = x.flatten(2).transpose(1, 2)
            for block in self.blocks:
                x = block(x)
            x = x.transpose(1, 2).reshape(batch, dim, height, width)
        else:
            for block in self.blocks:
                x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Norm2d(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * (x - mean) / torch.sqrt(variance + 1e-6) + self.bias[:, None, None]


class PlainTinyViT(nn.Module):
    """MobileSAM's image encoder, (B, 3, 1024, 1024) to (B, 256, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        dims, depths, heads, windows = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
        stem = nn.Sequential(ConvNorm(3, 32, 3, 2), nn.GELU(), ConvNorm(32, 64, 3, 2))
        self.patch_embed = nn.Sequential(OrderedDict(seq=stem))
        self.layers = nn.ModuleList()
        for i in range(4):
            merging = PlainMerging(dims[i], dims[i + 1], 1 if i == 2 else 2) if i < 3 else None
            blocks: list[nn.Module] = (
                [PlainMBConv(dims[0]) for _ in range(depths[0])]
                if i == 0
                else [PlainBlock(dims[i], heads[i], windows[i]) for _ in range(depths[i])]
            )
            self.layers.append(PlainStage(blocks, merging, tokens=i > 0))
        self.norm_head, self.head = nn.LayerNorm(dims[3]), nn.Linear(dims[3], 1000)  # published, never used
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False), Norm2d(256), nn.Conv2d(256, 256, 3, padding=1, bias=False), Norm2d(256)
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)
