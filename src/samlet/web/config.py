"""Settings of a page, and what a browser can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError

Weights = Literal["auto", "float32", "float16", "int8"]

FIRST_LOAD = 15_000_000
"""Bytes that a page should load at most before its first mask; `auto` picks weights by it."""

MOST_WEIGHTS = 200_000_000
"""Bytes of float32 weights that a page may hold: phones end pages that take more than some 300 MB."""

MOST_TENSOR = 128 * 2**20
"""Bytes of the largest tensor between two layers: weak GPUs allow no larger buffer, and memory must hold several."""

LEAST_AGREEMENT = {"float32": 0.99, "float16": 0.99, "int8": 0.97}
"""Mask IoU with the model in PyTorch that the graphs must reach, by how their weights are stored."""


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """How to make a page.

    Attributes:
        size: side of the encoder's square input, pixels.
        weights: how they are stored; `auto` for int8 where float16 and float32 would make the first load larger than
            `FIRST_LOAD`.
        seed: of what the gate asks.

    Raises:
        InputError: settings that cannot be.
    """

    size: int = 512
    weights: Weights = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weights not in get_args(Weights):
            raise InputError(f"weights {self.weights!r} is unknown; expected one of {', '.join(get_args(Weights))}")
        if not 32 <= self.size <= IMAGE_SIZE.most:
            raise InputError(f"size is {self.size}; expected a side of the encoder's input in pixels, such as 512")
