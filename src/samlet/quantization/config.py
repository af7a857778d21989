"""Settings of quantizing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError
from samlet.settings import MOST_SEED, check_settings, documented, setting

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


@documented
@dataclass(frozen=True, kw_only=True)
class QuantConfig:
    """How to quantize; TinySAM's settings where nothing is given."""

    weights: int = setting(8, "bits of one weight, 2 to 8, or 16 to leave them float", metavar="BITS", group="bits")
    activations: int = setting(
        8, "bits of one input of a layer, 2 to 8, or 16 to leave them float", metavar="BITS", group="bits"
    )
    mixed: float | None = setting(
        None,
        "average bits in place of both, 4 to 8: each layer gets 4, 6 or 8, more where errors harm more. The average is "
        "weighted by multiply-accumulates",
        least=WIDTHS[0],
        most=WIDTHS[-1],
        metavar="BITS",
        group="bits",
    )
    weight_group: int | None = setting(
        None,
        "chunks of N input channels have scales of their own in every output channel, as 32 or 64 for weights of 4 "
        "bits; without, an output channel has one scale",
        least=1,
        most=1 << 16,
        group="bits",
    )
    keep_float: tuple[str, ...] = setting(
        (),
        "layers that stay float, by name; * stands for anything, as in 'mask_decoder.*'",
        many=True,
        metavar="PATTERN",
        group="bits",
    )
    metric: Metric = setting("hessian", "how scales are found", choices=METRICS, group="search")
    scheme: Scheme = setting("twin", "what quantizers there are", choices=SCHEMES, group="search")
    calibration_images: int = setting(
        8, "photographs to calibrate on (TinySAM: 8)", least=1, most=10**6, group="search"
    )
    prompts: int = setting(
        16,
        "asked on each: half points of a grid, half boxes of the model's own answers to them",
        least=2,
        most=4096,
        group="search",
    )
    image_size: int | None = setting(
        None,
        "side of the encoder's input while calibrating, pixels; the model's own if not given",
        least=IMAGE_SIZE.least,
        most=IMAGE_SIZE.most,
    )
    candidates: int = setting(
        100,
        "scales tried at a time, from 0.01 to 1.2 of the largest value (TinySAM: 100)",
        least=2,
        most=10**4,
        group="search",
    )
    low: float = setting(0.01, "the smallest candidate over the largest value (TinySAM: 0.01)", option="")
    high: float = setting(1.2, "the largest candidate over the largest value (TinySAM: 1.2)", option="")
    rounds: int = setting(
        3, "how often weights and inputs take turns at most (TinySAM: 3)", least=1, most=1000, group="search"
    )
    samples: int = setting(
        128,
        "output positions that are kept of a layer and photograph; more where the layer is small, so that rare large "
        "values are among them",
        least=8,
        most=10**6,
        option="",
    )
    shrinkage: float = setting(
        1.0,
        "for metric hessian: the share of the mean curvature that every output gets on top where scales are chosen, "
        "draws of the gradient being kept from extremes (see `search.clipped`); 0 takes them as they are",
        least=0,
        option="",
    )
    seed: int = setting(0, "of photographs, positions and signs", least=0, most=MOST_SEED, option="")

    def __post_init__(self) -> None:
        for name in ("weights", "activations"):
            if getattr(self, name) not in _BITS:
                raise InputError(f"{name} is {getattr(self, name)!r} bits; expected 2 to 8, or 16 to leave them float")
        check_settings(self)
        if self.mixed is None and self.weights == self.activations == FLOAT_BITS:
            raise InputError("weights and activations are both 16 bits, which quantizes nothing; expected 2 to 8 bits")
        if self.weight_group is not None and self.mixed is None and self.weights == FLOAT_BITS:
            raise InputError(f"weight_group is {self.weight_group}, but weights stay float; give weights 2 to 8 bits")
        if self.weight_group is not None and self.scheme == "integer":
            raise InputError(
                f"weight_group is {self.weight_group} in scheme integer, whose kernels take one scale an output "
                "channel; leave it out, or take scheme twin or log"
            )
        if not 0 < self.low < self.high:
            raise InputError(f"low {self.low:g} and high {self.high:g} span no range; expected 0 < low < high")
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
