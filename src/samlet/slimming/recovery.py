"""Closed-form recovery: after a cut, layers are refitted to what they gave before, by least squares.

When a linear layer or convolution of the cut encoder is about to run, its inputs are those of the cut encoder with all
earlier layers refitted already; the weights that bring them closest to what the uncut encoder computed there, on the
channels that stay, have a closed form. Errors of earlier cuts are so compensated in the layers after them, and a few
forward passes over a few images are all it takes. The idea is that of channel pruning by reconstruction (He et al.,
"Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017), here for every layer on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from samlet.models import ImageEncoder
from samlet.slimming.surgery import kept_positions

_ROWS = 16384  # positions that a layer is fitted on
_VALUES = 1 << 28  # target values that exist at once: 1 GB
_RIDGE = 0.01

Layer = nn.Linear | nn.Conv2d


@torch.no_grad()
def recover(cut: ImageEncoder, whole: ImageEncoder, kept: Mapping[str, Tensor], images: Tensor, seed: int = 0) -> None:
    """Refit the layers of a cut encoder in place.

    Args:
        cut: the encoder after `cut_encoder`, frozen.
        whole: the encoder before, frozen.
        kept: what stayed, by group.
        images: (B, 3, H, W), a few.
        seed: of the choice of positions.
    """
    positions = kept_positions(whole, kept)
    for layers in _waves(cut):
        targets: dict[str, Tensor] = {}

        def remember(name: str, targets: dict[str, Tensor] = targets) -> Callable[..., None]:
            def hook(layer: Layer, _: Any, output: Tensor) -> None:
                rows = _sampled(_rows(output, layer), seed)
                outputs = positions.get((f"{name}.weight", 0))
                targets[name] = rows if outputs is None else rows[:, outputs.to(rows.device)]

            return hook

        def refit(name: str, targets: dict[str, Tensor] = targets) -> Callable[..., None]:
            def hook(layer: Layer, arguments: tuple[Tensor, ...]) -> None:
                _fit(layer, _inputs(arguments[0], layer, seed), targets.pop(name))

            return hook

        _run(whole, images, [whole.get_submodule(n).register_forward_hook(remember(n)) for n in layers])
        _run(cut, images, [cut.get_submodule(n).register_forward_pre_hook(refit(n)) for n in layers])


def _waves(encoder: ImageEncoder) -> Iterator[list[str]]:
    """Names of the layers in their order, in parts whose targets fit into memory together."""
    wave: list[str] = []
    values = 0
    for name, layer in encoder.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        more = _ROWS * layer.weight.shape[0]
        if wave and values + more > _VALUES:
            yield wave
            wave, values = [], 0
        wave.append(name)
        values += more
    yield wave


def _run(encoder: ImageEncoder, images: Tensor, handles: list[RemovableHandle]) -> None:
    """With grad mode on encoders compute every layer whole; being frozen they record no graph."""
    try:
        with torch.enable_grad():
            encoder(images)
    finally:
        for handle in handles:
            handle.remove()


def _sample(total: int, seed: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:_ROWS]


def _sampled(rows: Tensor, seed: int) -> Tensor:
    return rows[_sample(len(rows), seed).to(rows.device)]


def _rows(output: Tensor, layer: Layer) -> Tensor:
    """(positions, channels) of a layer's output."""
    return (output.permute(0, 2, 3, 1) if isinstance(layer, nn.Conv2d) else output).flatten(0, -2)


def _inputs(x: Tensor, layer: Layer, seed: int) -> Tensor:
    """Sampled (positions, inputs) that a layer multiplies its weight with."""
    if not isinstance(layer, nn.Conv2d) or (layer.kernel_size == (1, 1) and layer.stride == (1, 1)):
        return _sampled(_rows(x, layer), seed)
    side, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    padded = F.pad(x, (pad, pad, pad, pad))
    height, width = ((extent - side) // stride + 1 for extent in padded.shape[2:])
    index = _sample(len(x) * height * width, seed).to(x.device)
    image, row, column = index // (height * width), index // width % height, index % width
    reach = torch.arange(side, device=x.device)
    rows, columns = row[:, None] * stride + reach, column[:, None] * stride + reach
    patches = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    return patches.permute(0, 3, 1, 2).flatten(1)  # (positions, C · side · side), as weights are laid out


def _fit(layer: Layer, x: Tensor, y: Tensor) -> None:
    """Ridge regression of y on x around the weights that the layer has; a depthwise layer channel by channel.

    Products in single precision, which a ridge of a hundredth forgives; the system is solved in double.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = layer.weight.flatten(1).unflatten(0, (groups, -1))  # (groups, outputs, inputs)
    x, y = (t.unflatten(1, (groups, -1)).transpose(0, 1) for t in (x, y))  # (groups, positions, …)
    residual = y - x @ weight.mT
    mean, shift = x.mean(dim=1, keepdim=True), residual.mean(dim=1, keepdim=True)
    if layer.bias is not None:
        x, residual = x - mean, residual - shift
    gram = (x.mT @ x).double()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += _RIDGE * diagonal.mean(dim=1, keepdim=True) + torch.finfo(torch.float32).tiny
    change = torch.linalg.solve(gram, (x.mT @ residual).double()).mT.to(layer.weight)
    layer.weight += change.reshape(layer.weight.shape)
    if layer.bias is not None:
        layer.bias.copy_((shift - mean @ change.mT).flatten())
