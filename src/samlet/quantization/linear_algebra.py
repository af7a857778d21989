"""Linear layers and convolutions as products of matrices, at a few positions of their output.

What a convolution answers at one position is a product of its weights and the patch of the input that it reads there;
a transposed convolution whose kernel does not overlap itself answers a patch for each input. So one search serves all.

Shape legend: S positions, G groups (1 but for grouped convolutions), K factors of one sum, O outputs of a group,
R outputs that share a channel's scale: the kernel of a transposed convolution, else 1; C chunks of input channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.quantized import out_axis

Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def weight_matrix(layer: Layer) -> Tensor:
    """The weight, (G, O, K); the rows of a transposed convolution are (channel, kernel)."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.permute(1, 2, 3, 0).flatten(0, 2)[None]
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def scales_of_rows(layer: Layer, scales: Tensor, group: int | None = None) -> Tensor:
    """Steps of output channels as those of the weight's matrix.

    Args:
        layer: the layer.
        scales: (out,), or (out, C) for chunks of input channels.
        group: input channels of a chunk.

    Returns:
        (G, O, 1), or (G, O, K) for chunks.
    """
    matrix = weight_matrix(layer)
    repeats = matrix.shape[0] * matrix.shape[1] // len(scales)
    if group is None:
        return scales.repeat_interleave(repeats).view(*matrix.shape[:2], 1)
    columns = group * _columns_of_input(layer)
    whole = scales.repeat_interleave(columns, dim=1)[:, : matrix.shape[2]]
    return whole.repeat_interleave(repeats, dim=0).view_as(matrix)


def chunks(layer: Layer, group: int | None) -> list[slice]:
    """Columns of the weight's matrix that chunks of so many input channels have; one chunk of all of them for None."""
    width = weight_matrix(layer).shape[2]
    columns = width if group is None else group * _columns_of_input(layer)
    return [slice(start, min(start + columns, width)) for start in range(0, width, columns)]


def _columns_of_input(layer: Layer) -> int:
    """Columns of the weight's matrix that one input channel has."""
    return math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1


def largest_of_channels(layer: Layer, group: int | None = None) -> Tensor:
    """The largest |weight| of each output channel, (out,); of every chunk of input channels in it, (out, C)."""
    weight = layer.weight.detach().transpose(0, out_axis(layer)).abs()
    if group is None:
        return weight.flatten(1).amax(dim=1)
    return torch.stack([part.flatten(1).amax(dim=1) for part in weight.split(group, dim=1)], dim=1)


def positions(layer: Layer, x: Tensor, out: Tensor) -> int:
    """How many positions S there are for an input and its output."""
    if isinstance(layer, nn.Linear):
        return x.numel() // layer.in_features
    values = x if isinstance(layer, nn.ConvTranspose2d) else out
    return values.numel() // values.shape[1]


def input_rows(layer: Layer, x: Tensor, index: Tensor, out_size: torch.Size) -> Tensor:
    """The factors of the outputs at some positions, (S, G, K).

    Args:
        layer: the layer.
        x: its input.
        index: (S,) numbers of positions.
        out_size: shape of its output.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, layer.in_features)[index][:, None]
    if isinstance(layer, nn.ConvTranspose2d):
        batch, row, column = _places(index, x.shape)
        return x[batch, :, row, column][:, None]
    assert not isinstance(layer.padding, str)
    (kernel_h, kernel_w), (pad_h, pad_w) = layer.kernel_size, layer.padding
    batch, row, column = _places(index, out_size)
    rows = row[:, None] * layer.stride[0] + torch.arange(kernel_h, device=x.device) * layer.dilation[0]
    columns = column[:, None] * layer.stride[1] + torch.arange(kernel_w, device=x.device) * layer.dilation[1]
    padded = F.pad(x, (pad_w, pad_w, pad_h, pad_h))
    patches = padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (S, kernel, kernel, C)
    return patches.permute(0, 3, 1, 2).reshape(len(index), layer.groups, -1)


def output_rows(layer: Layer, out: Tensor, index: Tensor) -> Tensor:
    """The outputs, or what has their shape, at some positions, (S, G, O)."""
    if isinstance(layer, nn.Linear):
        return out.reshape(-1, layer.out_features)[index][:, None]
    if isinstance(layer, nn.ConvTranspose2d):
        kernel_h, kernel_w = layer.kernel_size
        blocks = out.unflatten(3, (-1, kernel_w)).unflatten(2, (-1, kernel_h))  # (B, C, H, kernel, W, kernel)
        batch, row, column = _places(index, torch.Size((len(out), 1, blocks.shape[2], blocks.shape[4])))
        return blocks[batch, :, row, :, column].flatten(1)[:, None]
    batch, row, column = _places(index, out.shape)
    return out[batch, :, row, column].reshape(len(index), layer.groups, -1)


def _places(index: Tensor, size: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """Image, row and column of numbered positions on maps of (B, C, H, W)."""
    height, width = size[2:]
    return index // (height * width), index // width % height, index % width
