"""Removing small islands and holes from masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from samlet.data.masks import Mask

_EIGHT_CONNECTED = np.ones((3, 3), bool)


def remove_small_regions(mask: Mask, area: int) -> Mask:
    """Fill holes and drop islands of less than `area` pixels (8-connected); the largest island always stays.

    Returns:
        A new mask, or the same object where nothing changed.
    """
    holes = _small_regions(~mask, area)
    if holes is not None:
        mask = mask | holes
    islands = _small_regions(mask, area)
    if islands is not None:
        rest = mask & ~islands
        mask = rest if rest.any() else _largest(mask)
    return mask


def _small_regions(mask: Mask, area: int) -> Mask | None:
    labels, sizes = _regions(mask)
    small = sizes < area
    small[0] = False
    return small[labels] if small.any() else None


def _largest(mask: Mask) -> Mask:
    labels, sizes = _regions(mask)
    return labels == 1 + sizes[1:].argmax()


def _regions(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    labels, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)
