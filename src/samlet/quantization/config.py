"""Settings of quantizing."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from samlet.errors import InputError

Metric = Literal["hessian", "mse", "percentile", "minmax"]
METRICS: dict[Metric, str] = {
    "hessian": "least error of each layer's output, weighted by the curvature of the masks' and predicted IoUs' "
    "divergence (TinySAM, eq. 11)",
    "mse": "least error of each layer's output, unweighted",
    "percentile": "inputs to their 99.99th percentile, weights to their largest; nothing is searched",
    "minmax": "both to their largest; nothing is searched",
}
"""How scales are found."""

Scheme = Literal["twin", "log", "integer"]
SCHEMES: dict[Scheme, str] = {
    "twin": "TinySAM's: two ranges after GELU and softmax, the products of attention quantized too",
    "log": "as twin, but the levels of attention weights are powers of a root of two (PTQ4SAM)",
    "integer": "what integer kernels compute: one range a tensor, with a zero point where it is lopsided; the products "
    "of attention and masks stay float",
}
"""What quantizers there are."""

FLOAT_BITS = 16
"""The number of bits that leaves weights or inputs as they are."""

WIDTHS = (4, 6, 8)
"""The numbers of bits that mixed precision chooses from."""

_BITS = (*range(2, 9), FLOAT_BITS)
_MOST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class QuantConfig:
    """How to quantize; TinySAM's settings where nothing is given.

    Attributes:
        weights: bits of one weight, 2 to 8; 16 leaves them float.
        activations: bits of one input, 2 to 8; 16 leaves them float.
        metric: see `METRICS`.
        scheme: see `SCHEMES`.
        mixed: average bits of weights and inputs alike, 4 to 8, in place of `weights` and `activations`: each layer
            gets 4, 6 or 8 by how much it minds.
        weight_group: input channels that share a step of an output channel's weights; all of them if None.
        calibration_images: photographs to calibrate on (TinySAM: 8).
        prompts: asked on each: half points of a grid, half the boxes of the model's own answers to them.
        image_size: side of the encoder's input while calibrating, pixels; the model's own if None.
        candidates: scales tried at a time (TinySAM: 100).
        low: the smallest candidate over the largest value (TinySAM: 0.01).
        high: the largest candidate over the largest value (TinySAM: 1.2).
        rounds: how often weights and inputs take turns (TinySAM: 3); fewer once nothing changes.
        samples: output positions that are kept of a layer and photograph; more where the layer is small, so that rare
            large values are among them.
        keep_float: patterns of the names of layers that stay float, such as `mask_decoder.*`.
        shrinkage: for metric hessian: the share of the mean curvature that every output gets on top where steps are
            chosen, draws of the gradient being kept from extremes (see `search.clipped`); 0 takes them as they are.
        seed: of photographs, positions and signs.
    """

    weights: int = 8
    activations: int = 8
    metric: Metric = "hessian"
    scheme: Scheme = "twin"
    mixed: float | None = None
    weight_group: int | None = None
    calibration_images: int = 8
    prompts: int = 16
    image_size: int | None = None
    candidates: int = 100
    low: float = 0.01
    high: float = 1.2
    rounds: int = 3
    samples: int = 128
    keep_float: tuple[str, ...] = ()
    shrinkage: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("weights", "activations"):
            if getattr(self, name) not in _BITS:
                raise InputError(f"{name} is {getattr(self, name)!r} bits; expected 2 to 8, or 16 to leave them float")
        known: dict[str, Any] = {"metric": METRICS, "scheme": SCHEMES}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(choices)}")
        if self.mixed is None and self.weights == self.activations == FLOAT_BITS:
            raise InputError("weights and activations are both 16 bits, which quantizes nothing; expected 2 to 8 bits")
        if self.mixed is not None and not WIDTHS[0] <= self.mixed <= WIDTHS[-1]:
            raise InputError(f"mixed is {self.mixed:g} bits on average; expected {WIDTHS[0]} to {WIDTHS[-1]}")
        if self.weight_group is not None:
            if self.weight_group < 1:
                raise InputError(f"weight_group is {self.weight_group}; expected at least 1 input channel, such as 64")
            if self.mixed is None and self.weights == FLOAT_BITS:
                raise InputError(
                    f"weight_group is {self.weight_group}, but weights stay float; give weights 2 to 8 bits"
                )
            if self.scheme == "integer":
                raise InputError(
                    f"weight_group is {self.weight_group} in scheme integer, whose kernels take one step an output "
                    "channel; leave it out, or take scheme twin or log"
                )
        least = {"calibration_images": 1, "prompts": 2, "candidates": 2, "rounds": 1, "samples": 8}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {smallest}")
        if not (0 < self.low < self.high and math.isfinite(self.high)):
            raise InputError(f"low {self.low:g} and high {self.high:g} span no range; expected 0 < low < high")
        if not (self.shrinkage >= 0 and math.isfinite(self.shrinkage)):
            raise InputError(f"shrinkage is {self.shrinkage:g}; expected a number of at least 0")
        if not 0 <= self.seed <= _MOST_SEED:
            raise InputError(f"seed is {self.seed}; expected a whole number from 0 to {_MOST_SEED}")
        if isinstance(self.keep_float, str):
            raise InputError(f"keep_float is {self.keep_float!r}; expected a tuple of patterns")

    @property
    def searches(self) -> bool:
        """Whether scales are searched."""
        return self.metric in ("hessian", "mse")

    @property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """Bits of weights and inputs that a layer may get."""
        if self.mixed is None:
            return ((self.weights, self.activations),)
        return tuple((bits, bits) for bits in WIDTHS)

    def weight_levels(self, bits: int) -> tuple[int, int]:
        """Lowest and highest level of a weight; symmetric in scheme integer, as some runtimes want them."""
        levels = 2 ** (bits - 1)
        return -levels + (self.scheme == "integer"), levels - 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "keep_float": list(self.keep_float)}
