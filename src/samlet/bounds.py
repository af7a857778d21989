"""Bounds of settings that are declared in more than one place: the command line refuses by them, and so do configs.

What is asked for is compared before anything is allocated, started or written. The limits are far above what is of use
and far below what a machine has no memory for.
"""

from __future__ import annotations

from dataclasses import dataclass

from samlet.errors import InputError


@dataclass(frozen=True)
class Bounds:
    """Whole numbers that a setting may have.

    Attributes:
        least: the smallest.
        most: the largest.
    """

    least: int
    most: int

    def check(self, name: str, value: int) -> int:
        """The value.

        Raises:
            InputError: it is out of bounds.
        """
        if not self.least <= value <= self.most:
            raise InputError(f"{name} is {value}; expected {self.least} to {self.most}")
        return value


THREADS = Bounds(1, 1024)
WORKERS = Bounds(1, 256)
EVERY = Bounds(1, 10**9)
COUNT = Bounds(1, 10**9)
"""Of photographs, pages, steps."""
IMAGE_SIZE = Bounds(16, 8192)
"""Side of the encoder's input, pixels."""
MAX_PIXELS = Bounds(1, 10**10)
POINTS_PER_SIDE = Bounds(1, 512)
POINTS_PER_BATCH = Bounds(1, 4096)
CROP_N_LAYERS = Bounds(0, 5)
"""Layer 5 has 1024 crops."""
CROP_DOWNSCALE = Bounds(1, 512)
AREA = Bounds(0, 10**10)
"""Pixels of a mask."""
SEED = Bounds(0, 2**32 - 1)
