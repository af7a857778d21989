"""Computing wide layers piece by piece, so that their hidden activations stay in the cache.

A hidden map of tens of megabytes costs more to allocate and to move than to compute. In inference the
encoders compute such layers in strips of rows or chunks of tokens, with the same results; in training, and wherever
it is asked for (`modes.whole_layers`), they compute them whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.modes import computes_whole

_STRIP_ELEMENTS = 1 << 21  # hidden values that exist at once: 8 MB of float32


def strip_size(total: int, elements_each: int) -> int:
    """How many of `total` rows or tokens to take at once, of `elements_each` hidden values."""
    return min(total, max(1, _STRIP_ELEMENTS // elements_each))


def gelu_(x: Tensor) -> Tensor:
    """GELU; in place in inference."""
    if computes_whole():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)


def conv_rows(conv: nn.Conv2d, x: Tensor, first: int, total: int, start: int, stop: int) -> Tensor:
    """Rows `start` to `stop` of the output of a 3×3 convolution with padding 1.

    Args:
        conv: the convolution, stride s.
        x: (B, C, h, W): the input's rows from `first` on, at least those from s · start - s to s · (stop - 1) + 1.
        first: number of the first row that `x` holds.
        total: rows of the whole input.
        start: first output row wanted.
        stop: output row after the last wanted.
    """
    stride = conv.stride[0]
    top, bottom = max(stride * (start - 1), 0), min(stride * (stop - 1) + 2, total)
    y = conv(x[:, :, top - first : bottom - first])
    skip = start - top // stride
    return y[:, :, skip : skip + stop - start]


def plus_(fresh: Tensor, x: Tensor) -> Tensor:
    """Sum of both; in inference in the memory of the first, which nobody else may look at.

    Fresh memory of the size of a stream costs more than the sum.
    """
    return fresh + x if computes_whole() else fresh.add_(x)


def in_chunks(layer: Callable[[Tensor], Tensor], x: Tensor, hidden_elements: int) -> Tensor:
    """Apply a layer that treats the entries of the first axis apart, some entries at a time.

    Args:
        layer: the layer.
        x: (N, ...).
        hidden_elements: values that the layer holds inside for one entry.
    """
    if computes_whole():
        return layer(x)
    size = strip_size(x.shape[0], hidden_elements)
    if size == x.shape[0]:
        return layer(x)
    out: Tensor | None = None
    for start in range(0, x.shape[0], size):
        part = layer(x[start : start + size])
        if out is None:
            alike = part.shape[1:] == x.shape[1:]
            out = torch.empty_like(x) if alike else part.new_empty(x.shape[0], *part.shape[1:])
        out[start : start + size] = part
    assert out is not None
    return out
