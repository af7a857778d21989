"""From the range of a tensor to a quantizer of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from samlet.models.quantized import InputQuantizer
from samlet.quantization.config import Scheme

GELU_MINIMUM = 0.16997
"""The lowest value of GELU, its sign changed; TinySAM's code has the same number."""

_LOWEST_GELU = -0.17
_LOPSIDED = 0.9  # a range shorter than this share of the symmetric one is worth a zero point
_NEGLIGIBLE = 0.1  # an end of the range below this share of the other is not worth a search
_PERCENTILE = 99.99

Style = Literal["symmetric", "twin", "affine"]


@dataclass(frozen=True)
class InputRange:
    """What is known of an input, and the kind of its quantizer.

    Attributes:
        low: its smallest value, at most 0.
        high: its largest value, at least 0.
        bits: of one value.
        style: `symmetric` around 0; `twin`, two ranges as after GELU; `affine`, with a zero point that is a whole
            number of scales.
    """

    low: float
    high: float
    bits: int
    style: Style

    @property
    def ends(self) -> tuple[int, ...]:
        """Which factors are worth a search: 0, of the whole range or its larger end, and 1, of the smaller end."""
        if self.style != "affine":
            return (0,)
        small, large = sorted((-self.low, self.high))
        return (0, 1) if small > _NEGLIGIBLE * large else (0,)

    def quantizer(self, factors: tuple[float, float] = (1.0, 1.0)) -> InputQuantizer:
        """The quantizer that covers the range times a factor.

        Args:
            factors: of the larger and the smaller end, where they may differ; else the first counts.
        """
        levels = 2 ** (self.bits - 1)
        if self.style == "symmetric":
            largest = max(-self.low, self.high)
            return InputQuantizer(_step(factors[0] * largest / levels), self.bits)
        if self.style == "twin":
            negative = _step(GELU_MINIMUM / levels)
            return InputQuantizer(_step(factors[0] * self.high / levels), self.bits, negative_scale=negative)
        of_high, of_low = factors if self.high >= -self.low else factors[::-1]
        low, high = of_low * self.low, of_high * self.high
        scale = _step((high - low) / (2 * levels - 1))
        zero_point = min(max(round(-levels - low / float(scale)), -levels), levels - 1)
        return InputQuantizer(scale, self.bits, offset=scale * -zero_point + 0.0)


def input_range(low: float, high: float, bits: int, scheme: Scheme, may_be_affine: bool = True) -> InputRange:
    """The range of a tensor with the kind of quantizer that suits it.

    Args:
        low: its smallest value.
        high: its largest value.
        bits: of one value.
        scheme: see `config.SCHEMES`.
        may_be_affine: a zero point is possible here.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    style: Style = "symmetric"
    if scheme != "integer" and _LOWEST_GELU <= low < 0 and high > -2 * low:
        style = "twin"
    elif scheme == "integer" and may_be_affine and high - low < _LOPSIDED * 2 * max(-low, high):
        style = "affine"
    return InputRange(low, high, bits, style)


def percentiles(values: Tensor) -> tuple[float, float]:
    """The values that one in 10,000 lies below, and above."""
    flat = values.float().numpy().ravel()
    low, high = np.quantile(flat, [1 - _PERCENTILE / 100, _PERCENTILE / 100])
    return float(low), float(high)


def _step(value: float) -> Tensor:
    """A scale (1,), above 0 even where there is nothing to cover."""
    return torch.tensor([value if value > 1e-30 else 1.0])
