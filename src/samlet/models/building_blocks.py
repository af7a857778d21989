"""Layers that several parts of a SAM share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.modes import computes_for_graph, computes_gradients

Activation = Callable[[Tensor], Tensor]


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) as tokens (N, H · W, C); a view where x is channels-last in memory.

    Runtimes that keep maps channels-last see in this pair of operations, and in those of `to_map`, that nothing moves.
    """
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `to_tokens`: (N, H · W, C) as (N, C, H, W), channels-last in memory."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (N, C, H, W), as ViTDet's neck uses it."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if computes_for_graph():
            return to_map(self._of_last_axis(to_tokens(x)), (x.shape[2], x.shape[3]))
        return self._of_last_axis(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _of_last_axis(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Neck(nn.Sequential):
    """(N, C, h, w) features to the (N, out, h, w) image embedding."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )


class MLP(nn.Module):
    """Linear layers with an activation between them: ReLU in SAM's heads."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, depth: int, activation: Activation = F.relu) -> None:
        super().__init__()
        self.activation = activation
        widths = [in_dim, *[hidden_dim] * (depth - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


_FEW_KEYS = 512


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention whose value width may differ from that of query and key.

    PyTorch's fused kernels want one width, and zero channels change no dot product, so the narrower side is padded.
    Into ONNX graphs the two products go as they are: the runtimes that read those have fused kernels of their own. So
    they do where gradients of few keys are wanted in bfloat16 on a CPU: there the fused kernel's backward pass is
    slow (`benchmarks/attention_training.py`).

    Args:
        q: queries (..., L, D).
        k: keys (..., S, D).
        v: values (..., S, E).
        scale: factor of the dot products.
        bias: added to the scaled dot products, broadcastable to (..., L, S).

    Returns:
        (..., L, E).
    """
    few = k.shape[-2] <= _FEW_KEYS and q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if few and computes_gradients(q):
        with torch.autocast("cpu", enabled=False):  # logits stay in single precision, as the fused kernel keeps them
            logits = (q.float() * scale) @ k.float().transpose(-1, -2)
        return torch.softmax(logits if bias is None else logits + bias, dim=-1).to(v.dtype) @ v
    if computes_for_graph():
        logits = (q * scale) @ k.transpose(-1, -2)
        return torch.softmax(logits if bias is None else logits + bias, dim=-1) @ v
    missing = q.shape[-1] - v.shape[-1]
    if missing > 0:
        v_padded = F.pad(v, (0, missing))
    else:
        q, k, v_padded = F.pad(q, (0, -missing)), F.pad(k, (0, -missing)), v
    if bias is not None and bias.ndim < q.ndim:  # the fused kernels take a bias of as many axes as the queries
        bias = bias.expand(1, *bias.shape)
    out = F.scaled_dot_product_attention(q, k, v_padded, attn_mask=bias, scale=scale)
    return out[..., : v.shape[-1]]


class AttentionProducts(nn.Module):
    """The two products of attention as a layer of its own, so that another may stand in its place; see `attend`.

    Args:
        keys_per_query: how many keys there are for each query of self-attention, where queries are pooled.
    """

    def __init__(self, keys_per_query: int = 1) -> None:
        super().__init__()
        self.keys_per_query = keys_per_query

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
        return attend(q, k, v, scale, bias)


class Product(nn.Module):
    """The product of two matrices as a layer of its own, so that another may stand in its place."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


def window_partition(x: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, H, W, C) into (B · windows, size, size, C), zero-padded at the right and bottom; also the padded size."""
    batch, height, width, channels = x.shape
    padded_h, padded_w = (height + size - 1) // size * size, (width + size - 1) // size * size
    if (padded_h, padded_w) != (height, width):
        x = F.pad(x, (0, 0, 0, padded_w - width, 0, padded_h - height))
    x = x.view(batch, padded_h // size, size, padded_w // size, size, channels)
    return x.transpose(2, 3).reshape(-1, size, size, channels), (padded_h, padded_w)


def window_unpartition(windows: Tensor, padded: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """Undo `window_partition`: (B · windows, size, size, C) to (B, H, W, C)."""
    size, channels = windows.shape[1], windows.shape[-1]
    padded_h, padded_w = padded
    x = windows.reshape(-1, padded_h // size, padded_w // size, size, size, channels)
    x = x.transpose(2, 3).reshape(-1, padded_h, padded_w, channels)
    return x[:, : original[0], : original[1]]
