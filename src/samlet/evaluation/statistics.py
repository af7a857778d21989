"""Means over masks with bootstrap intervals over images, by size, and paired differences between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_LEVELS = (0.025, 0.975)
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}
"""COCO's sizes of masks, pixels: from, up to."""

PerImage = Sequence[Sequence[float]]
"""Values of the masks of each image."""


def mean_over_masks(values: PerImage) -> float:
    """Mean over all masks; nan if there is none."""
    flat = [value for image in values for value in image]
    return float(np.mean(flat)) if flat else float("nan")


def mean_over_images(values: PerImage) -> float:
    """Mean over images of the mean over an image's masks, as SlimSAM's validation takes it; nan if there is none."""
    means = [float(np.mean(image)) for image in values if len(image)]
    return float(np.mean(means)) if means else float("nan")


def interval(values: PerImage, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval, over images, of the mean over masks."""
    low, high = np.quantile(_resampled(values, seed), _LEVELS)
    return float(low), float(high)


def _resampled(values: PerImage, seed: int) -> NDArray[np.float64]:
    """Mean over masks of each of many samples of images; the same images for the same seed."""
    sums = np.array([float(np.sum(image)) for image in values])
    counts = np.array([len(image) for image in values])
    picks = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    return sums[picks].sum(axis=1) / np.maximum(counts[picks].sum(axis=1), 1)


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another on the same masks.

    Attributes:
        mean: difference of the means over masks.
        low: of its 95 % bootstrap interval, images drawn together for both.
        high: of that interval.
    """

    mean: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(a: PerImage, b: PerImage, seed: int) -> Difference:
    """Model a less model b; both with the same masks in the same order.

    Raises:
        ValueError: the masks are not the same.
    """
    if [len(image) for image in a] != [len(image) for image in b]:
        raise ValueError("the two models were not measured on the same masks")
    difference = [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
    low, high = interval(difference, seed)
    return Difference(mean_over_masks(difference), low, high)


def by_size(values: PerImage, areas: Sequence[Sequence[int]]) -> dict[str, tuple[int, float | None]]:
    """Number and mean of the masks of each size; None where there are none."""
    found: dict[str, tuple[int, float | None]] = {}
    flat = np.array([value for image in values for value in image])
    pixels = np.array([area for image in areas for area in image])
    for name, (low, high) in SIZES.items():
        chosen = flat[(pixels >= low) & (pixels < high)]
        found[name] = len(chosen), float(chosen.mean()) if len(chosen) else None
    return found


def average_recall(values: PerImage) -> float:
    """Share of masks found, averaged over the IoU thresholds .50, .55, …, .95 (COCO's average recall)."""
    flat = np.array([value for image in values for value in image])
    thresholds = np.linspace(0.5, 0.95, 10)
    return float((flat[:, None] >= thresholds - 1e-12).mean()) if len(flat) else float("nan")
