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
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import Neck
from samlet.models.convolutions import Stem

_ROUGHNESS = 0.5
"""Deviation of what a depthwise filter adds to passing its channel on."""
POSITIONS = 0.02
"""Deviation of a table of absolute positions, as in ViT."""
GATES = 0.01
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


class Draw:
    """Draws the weights of one layer after the other from one sequence of numbers.

    Args:
        seed: of the numbers.
        deviation: that the values of the embedding shall have.
    """

    def __init__(self, seed: int, deviation: float = 1.0) -> None:
        self.deviation = deviation
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

    def stem(self, stem: Stem) -> None:
        """The two convolutions of a stem."""
        self.layer(stem.conv1)
        self.layer(stem.conv2, after_gelu(UNIT))

    def neck(self, neck: Neck) -> None:
        """The convolutions of a neck, whose last norm brings the embedding to its deviation."""
        for layer in neck:
            if isinstance(layer, nn.Conv2d):
                self.layer(layer)
        nn.init.constant_(cast(Tensor, neck[3].weight), self.deviation)
