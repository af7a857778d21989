"""Where a person would click next: in the middle of the largest error (Sofiiuk et al., "Reviving iterative training
with mask guidance for interactive segmentation", 2021, which SAM and TinySAM follow)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samlet.data.masks import Mask, Region, bounding_box

_FOREGROUND, _BACKGROUND = 1, 0


def next_click(truth: Region, predicted: Mask) -> tuple[float, float, int]:
    """x, y in pixels and label of the next click.

    Of the missed and of the surplus pixels the one that is deepest inside them, by the distance to everything outside,
    the image's border included; of several the first, row by row. Where both are equally deep, or nothing is wrong, it
    is on the background.

    Args:
        truth: the true mask.
        predicted: (H, W) the answer to the clicks so far.
    """
    missed = np.zeros(predicted.shape, bool)
    height, width = truth.mask.shape
    window = np.s_[truth.top : truth.top + height, truth.left : truth.left + width]
    missed[window] = truth.mask & ~predicted[window]
    surplus = predicted.copy()
    surplus[window] &= ~truth.mask
    depth_missed, at_missed = _deepest(missed)
    depth_surplus, at_surplus = _deepest(surplus)
    if depth_missed > depth_surplus:
        return (*at_missed, _FOREGROUND)
    return (*at_surplus, _BACKGROUND)


def _deepest(mask: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Distance and place (x, y) of the pixel furthest from everything outside a mask."""
    x, y, width, height = bounding_box(mask)
    if not width:
        return 0.0, (0.0, 0.0)
    inside = np.pad(mask[y : y + height, x : x + width], 1)
    depth = ndimage.distance_transform_edt(inside)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(depth[row, column]), (float(x + column - 1), float(y + row - 1))
