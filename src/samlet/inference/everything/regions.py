"""Removing small islands and holes from masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from samlet.data.masks import Mask

_EIGHT_CONNECTED = np.ones((3, 3), bool)


def remove_small_regions(mask: Mask, area: int) -> Mask:
    """Fill holes and drop islands of less than `area` pixels (8-connected); the largest island always stays.

    Looks at the mask's box only: what surrounds it is known to go on to the edges of the image.

    Returns:
        A new mask, or the same object where nothing changed.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
    bottom, right = min(mask.shape[0], int(rows[-1]) + 2), min(mask.shape[1], int(columns[-1]) + 2)
    part = mask[top:bottom, left:right]
    height, width = mask.shape
    holes = _holes(part, area, (top, height - bottom), (left, width - right), width)
    if holes is None:  # what surrounds the mask is small itself
        holes = _small_regions(~mask, area)
        return _without_islands(mask if holes is None else mask | holes, area)
    changed = _without_islands(part | holes if holes.any() else part, area)
    if changed is part:
        return mask
    whole = mask.copy()
    whole[top:bottom, left:right] = changed
    return whole


def _holes(part: Mask, area: int, rows: tuple[int, int], columns: tuple[int, int], width: int) -> Mask | None:
    """Small holes of a part of a mask beyond which all is background; None where a region that goes on there is small.

    Args:
        part: (h, w), with a margin of background on every side that something is cut off of.
        area: least pixels of a region that stays.
        rows: how many are cut off above and below.
        columns: how many are cut off left and right.
        width: of the whole mask.
    """
    labels, sizes = _regions(~part)
    sides = {
        (0, 0, "above"): rows[0] * width,
        (-1, 0, "below"): rows[1] * width,
        (0, 0, "left"): columns[0] * len(part),
        (0, -1, "right"): columns[1] * len(part),
    }
    going_on: set[int] = set()
    for (row, column, _), pixels in sides.items():
        if pixels:
            label = int(labels[row, column])
            sizes[label] += pixels
            going_on.add(label)
    small = sizes < area
    small[0] = False
    if any(small[label] for label in going_on):
        return None
    return small[labels]


def _without_islands(mask: Mask, area: int) -> Mask:
    islands = _small_regions(mask, area)
    if islands is None:
        return mask
    rest = mask & ~islands
    return rest if rest.any() else _largest(mask)


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
