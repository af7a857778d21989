"""Values of pictures with more than 8 bits, as 8 bits.

A picture's values mean black to white over a range. It is the full range of the type (16 bits: 0…65535; floating
point: 0…1), unless the values say otherwise: microscopes and satellites put 10, 12 or 14 bits into 16, and tools write
0…255 or 0…65535 as floating point. Then the range is the least usual one that holds the values, and a remark says so.
Signed and larger values span from the least to the largest one. `--range` overrules all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samlet.errors import InputError
from samlet.io.remarks import remark

_BITS = (8, 10, 12, 14, 16)
_SLACK = 0.1  # of the range: how far resampled floating point values may shoot over
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Range:
    """What becomes black and what becomes white.

    Attributes:
        low: value of black.
        high: value of white.
        percentile: in place of these, the 0.5th and 99.5th percentile of each picture's values.
    """

    low: float = 0.0
    high: float = 1.0
    percentile: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"range is {self.low:g},{self.high:g}; expected two numbers, LOW below HIGH")

    @classmethod
    def parse(cls, text: str) -> Range:
        """`LOW,HIGH` or `percentile`; raises InputError for anything else."""
        if text == "percentile":
            return cls(percentile=True)
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                f"range {text!r} cannot be read; expected LOW,HIGH such as 0,4095, or percentile"
            ) from None
        return cls(low, high)

    def __str__(self) -> str:
        return "percentile" if self.percentile else f"{self.low:g},{self.high:g}"


def to_8_bits(values: NDArray, name: str, chosen: Range | None = None) -> NDArray[np.uint8]:
    """Values of any type as 0…255.

    NaN becomes black, infinity white, and a remark counts them.

    Args:
        values: of a picture, any shape; bool, integers or floating point.
        name: of the picture, for remarks.
        chosen: the range; told by the values if None.

    Raises:
        InputError: no value is finite, or the type is no number.
    """
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise InputError(f"{name} has values of type {values.dtype}; expected whole or floating point numbers")
    if not values.size:
        return values.astype(np.uint8)
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    known = wide
    if not finite.all():
        known = wide[finite]
        if not known.size:
            raise InputError(f"{name} has no finite value; expected a picture")
        remark(f"{name}: {wide.size - known.size} values that are NaN or infinite; NaN is taken as black", "NaN")
    low, high = _limits(known, values.dtype, name, chosen)
    if not finite.all():
        wide = np.nan_to_num(wide, nan=low, posinf=high, neginf=low)
    return ((wide - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def _limits(known: NDArray[np.float64], dtype: np.dtype, name: str, chosen: Range | None) -> tuple[float, float]:
    """What is black and what is white."""
    least, most = float(known.min()), float(known.max())
    if chosen is not None:
        low, high = chosen.low, chosen.high
        if chosen.percentile:
            low, high = (float(value) for value in np.percentile(known, _PERCENTILES))
            low, high = (low, high) if low < high else (least, max(most, least + 1.0))
        if most <= low or least >= high:
            remark(f"{name}: all values ({least:g} to {most:g}) lie outside the range {low:g},{high:g}", "outside")
        return low, high
    if dtype == np.uint8:
        return 0.0, 255.0
    floating = dtype.kind == "f"
    said = f"{name}: {'floating point' if floating else f'{8 * dtype.itemsize}-bit'} values {least:g} to {most:g}"
    steps = [2.0**bits - 1 for bits in _BITS]
    if floating:
        steps = [1.0, *steps]
    slack = _SLACK if floating else 0.0
    fitting = [high for high in steps if most <= high * (1 + slack) and least >= -high * slack]
    if not fitting:
        high = most if most > least else least + 1.0
        remark(f"{said} are taken as {least:g} black and {high:g} white; --range LOW,HIGH says otherwise", "range")
        return least, high
    high = fitting[0]
    if most <= 0:
        return 0.0, high
    if not (high == steps[-1] and not floating):
        bits = "" if high == 1 else f" ({int(high).bit_length()} bits)"
        remark(f"{said} are taken as 0 black and {high:g} white{bits}; --range LOW,HIGH says otherwise", "range")
    return 0.0, high
