"""Weights for an encoder that is trained from scratch.

TinyViT and RepViT are published with batch norms, which hold the scale of every convolution's output and take off its
mean. Here they are folded away, and with PyTorch's own initialisation a photograph's part in the activations vanishes
from layer to layer. So the weights are drawn to do at the start what the norms did: mean and variance of what goes into
each layer are followed through the encoder, as if it were normally distributed, and the layer is drawn so that its
output has mean 0 and the variance wanted (He et al., "Delving Deep into Rectifiers", ICCV 2015; the mean that an
activation adds: Brock et al., "Characterizing signal propagation", ICLR 2021). The branches of a stage together add as
much variance as its input has, so the residual stream stays of one order, however deep.

Nothing but the seed decides, so a student is the same on every device and with any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.convolutions import InvertedBottleneck, Stem
from samlet.models.layers import Neck
from samlet.models.repvit import HalvingBlock, RepViTBlock, RepViTEncoder
from samlet.models.tiny_vit import Stage, TinyViTBlock, TinyViTEncoder
from samlet.models.vit import ViTBlock, ViTEncoder

_ROUGHNESS = 0.5
"""Deviation of what a depthwise filter adds to passing its channel on."""
_POSITIONS = 0.02
"""Deviation of a table of absolute positions, as in ViT."""
_GATES = 0.01
"""Variance of what goes into the gates of squeeze-and-excitation, so that they begin near ½."""

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the values of a layer, over images, places and channels."""

    mean: float = 0.0
    variance: float = 1.0

    def plus(self, variance: float) -> Moments:
        """With an independent branch of mean 0 added."""
        return Moments(self.mean, self.variance + variance)


UNIT = Moments()


@lru_cache
def after_gelu(before: Moments) -> Moments:
    """Moments of GELU of a normal variable, by quadrature."""
    z = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    weight = torch.softmax(-(z**2) / 2, dim=0)
    values = F.gelu(before.mean + math.sqrt(before.variance) * z)
    mean = (weight * values).sum()
    return Moments(float(mean), float((weight * (values - mean) ** 2).sum()))


def initialise(encoder: TinyViTEncoder | RepViTEncoder | ViTEncoder, seed: int = 0) -> None:
    """Draw all weights of an encoder, in place, so that variance is kept through its depth.

    Args:
        encoder: newly built, on any device; its norms are as they were built, 1 and 0.
        seed: of the weights.
    """
    draw = _Draw(seed)
    with torch.no_grad():
        if isinstance(encoder, TinyViTEncoder):
            _tiny_vit(encoder, draw)
        elif isinstance(encoder, RepViTEncoder):
            _repvit(encoder, draw)
        else:
            _vit(encoder, draw)


class _Draw:
    """Draws the weights of one layer after the other from one sequence of numbers."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, like: Tensor) -> Tensor:
        """Of a tensor's shape, on its device."""
        return torch.randn(like.shape, generator=self._generator).to(like)

    def layer(self, layer: Layer, given: Moments = UNIT, variance: float = 1.0) -> None:
        """Weights that make of inputs of the `given` moments outputs of mean 0 and of a variance.

        A depthwise filter passes smooth parts of its channel on as they are: its taps are that of the place itself and
        noise of sum 0. Filters that are noise alone have sums of their own, whose product after ten layers is nothing
        in most channels.
        """
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            weight = self.normal(layer.weight) * (_ROUGHNESS / math.sqrt(layer.weight[0].numel()))
            weight -= weight.mean(dim=(2, 3), keepdim=True)
            weight[:, :, 1, 1] += 1
        else:
            weight = self.normal(layer.weight) / math.sqrt(layer.weight[0].numel())
        layer.weight.copy_(weight * math.sqrt(variance / given.variance))
        if layer.bias is not None:
            layer.bias.copy_(-given.mean * layer.weight.flatten(1).sum(dim=1))


def _tiny_vit(encoder: TinyViTEncoder, draw: _Draw) -> None:
    _stem(encoder.patch_embed, draw)
    stream = UNIT
    for stage in cast(Iterable[Stage], encoder.layers):
        share = stream.variance / len(stage.blocks)
        for block in stage.blocks:
            if isinstance(block, InvertedBottleneck):
                _inverted_bottleneck(block, draw, stream, share)
                stream = after_gelu(stream.plus(share))
            else:
                assert isinstance(block, TinyViTBlock)
                draw.layer(block.attn.qkv)
                draw.layer(block.attn.proj, variance=share / 2)
                draw.layer(block.local_conv)
                draw.layer(block.mlp.fc1)
                draw.layer(block.mlp.fc2, after_gelu(UNIT), share / 2)
                stream = stream.plus(share)
        if isinstance(stage.downsample, InvertedBottleneck):
            _inverted_bottleneck(stage.downsample, draw, stream, 1.0)
            stream = UNIT
    _neck(encoder.neck, draw)


def _repvit(encoder: RepViTEncoder, draw: _Draw) -> None:
    _stem(encoder.patch_embed, draw)
    stream = UNIT
    for number, stage in enumerate(cast(Iterable[nn.Sequential], encoder.stages)):
        for block in cast(Iterable[RepViTBlock | HalvingBlock], stage):
            if isinstance(block, HalvingBlock):
                draw.layer(block.local_conv)
                draw.layer(block.project, stream)
                stream = UNIT
            elif block.squeeze is None:
                draw.layer(block.local_conv)
            else:
                draw.layer(block.local_conv, variance=4.0)  # the gates halve it
                draw.layer(block.squeeze.fc1, stream)
                draw.layer(block.squeeze.fc2, variance=_GATES)
            draw.layer(block.mixer.fc1, stream)
            draw.layer(block.mixer.fc2, after_gelu(UNIT), 1 / len(stage))
            stream = stream.plus(1 / len(stage))
        if number >= 2:
            draw.layer(encoder.fuse_stage2 if number == 2 else encoder.fuse_stage3, stream)
    _neck(encoder.neck, draw)


def _vit(encoder: ViTEncoder, draw: _Draw) -> None:
    draw.layer(encoder.patch_embed.proj)
    encoder.pos_embed.copy_(_POSITIONS * draw.normal(encoder.pos_embed))
    share = 1 / len(encoder.blocks)
    for block in cast(Iterable[ViTBlock], encoder.blocks):
        draw.layer(block.attn.qkv)
        draw.layer(block.attn.proj, variance=share / 2)
        draw.layer(block.mlp.lin1)
        draw.layer(block.mlp.lin2, after_gelu(UNIT), share / 2)
    _neck(encoder.neck, draw)


def _stem(stem: Stem, draw: _Draw) -> None:
    draw.layer(stem.conv1)
    draw.layer(stem.conv2, after_gelu(UNIT))


def _inverted_bottleneck(block: InvertedBottleneck, draw: _Draw, given: Moments, variance: float) -> None:
    draw.layer(block.conv1, given)
    draw.layer(block.conv2, after_gelu(UNIT))
    draw.layer(block.conv3, after_gelu(UNIT), variance)


def _neck(neck: Neck, draw: _Draw) -> None:
    for layer in neck:
        if isinstance(layer, nn.Conv2d):
            draw.layer(layer)
