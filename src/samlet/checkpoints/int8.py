"""Storing weights as int8 with one scale for each output channel. Storage only: a loaded model computes in float32.

Layers that are small and tender stay float16: the stem, depthwise convolutions (nine weights a channel), and what the
decoder ends with: the upscaling of the image, and the last layers of the networks that make mask and predicted IoU.
These are where the masks of a slimmed MobileSAM lost most when all else was rounded.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from samlet.checkpoints.reading import StateDict
from samlet.errors import CheckpointError

_SCALE = ".int8_scale"
_MIN_ELEMENTS = 1024
_FLOAT32 = ("pe_layer.", "attention_biases", "rel_pos_", "pos_embed")
_FLOAT16 = re.compile(
    r"patch_embed\.|\.conv2\.|\.local_conv\.|output_upscaling\."
    r"|(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\."
)


def _channel_shape(value: Tensor) -> tuple[int, ...]:
    return (-1, *[1] * (value.ndim - 1))


def round_channels(value: Tensor) -> tuple[Tensor, Tensor]:
    """Round each channel to 255 levels, symmetric about 0, clipped where the squared error is least.

    Args:
        value: (channels, …) float.

    Returns:
        int8 of the same shape, and the scales (channels,).
    """
    flat = value.flatten(1).float()
    limit = flat.abs().amax(dim=1).clamp(min=1e-12) / 127
    best, best_error = limit, torch.full_like(limit, torch.inf)
    for factor in torch.linspace(0.8, 1.0, 21):
        scale = limit * factor
        rounded = (flat / scale[:, None]).round().clamp(-127, 127) * scale[:, None]
        error = (rounded - flat).square().sum(dim=1)
        best = torch.where(error < best_error, scale, best)
        best_error = torch.minimum(error, best_error)
    return (flat / best[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(value), best


def stored_as(name: str, value: Tensor) -> torch.dtype:
    """The type that a weight of this name and shape is stored in."""
    if value.ndim < 2 or value.numel() < _MIN_ELEMENTS or any(part in name for part in _FLOAT32):
        return torch.float32
    return torch.float16 if _FLOAT16.search(name) else torch.int8


def encode(tensors: StateDict) -> StateDict:
    """Matrices and convolutions as int8 with scales, tender ones as float16; tables and vectors as they are."""
    encoded: StateDict = {}
    for name, value in tensors.items():
        dtype = stored_as(name, value)
        if dtype == torch.int8:
            encoded[name], encoded[name + _SCALE] = round_channels(value)
        else:
            encoded[name] = value.to(dtype)
    return encoded


def count_bytes(tensors: StateDict) -> int:
    """Bytes of what `encode` makes of tensors; nothing is encoded for it."""
    count = 0
    for name, value in tensors.items():
        dtype = stored_as(name, value)
        count += value.numel() * dtype.itemsize + (4 * len(value) if dtype == torch.int8 else 0)
    return count


def decode(tensors: StateDict) -> StateDict:
    """Undo `encode`, up to rounding."""
    decoded: StateDict = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE):
            continue
        if value.dtype == torch.int8:
            if name + _SCALE not in tensors:
                raise CheckpointError(f"{name} is int8 but has no scale; expected {name + _SCALE} beside it")
            value = value.float() * tensors[name + _SCALE].view(_channel_shape(value))
        decoded[name] = value.float()
    return decoded
