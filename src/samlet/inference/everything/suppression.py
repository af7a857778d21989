"""Non-maximum suppression of boxes x0, y0, x1, y1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco_mask

from samlet.data.masks import RLE

Boxes = NDArray[np.float64]
"""(N, 4) x0, y0, x1, y1."""


def box_iou(box: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """IoU of one box (4,) with others (N, 4); 0 where both are empty."""
    a, b = np.asarray(box, np.float64), np.asarray(boxes, np.float64).reshape(-1, 4)
    size = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
    common = size.clip(min=0).prod(axis=1)
    union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(axis=1) - common
    return common / np.maximum(union, 1e-12)


def with_area(box: Sequence[float]) -> Sequence[float]:
    """A box whose last pixels are inclusive; one that is a single row or column of pixels, with their area."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1 + 1, y1 + 1) if x0 == x1 or y0 == y1 else box


def suppress(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4).
        scores: (N,); of equal ones the first comes first.
        threshold: a box goes whose IoU with one that stays is larger.

    Returns:
        Indices of the boxes that stay, best score first.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    left = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept: list[int] = []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][box_iou(boxes[left[0]], boxes[left[1:]]) <= threshold]
    return kept


def suppress_masks(codes: Sequence[RLE], threshold: float) -> list[int]:
    """Greedy non-maximum suppression by the masks themselves.

    Args:
        codes: RLE of the masks, best first.
        threshold: a mask goes whose IoU with one that stays is larger.

    Returns:
        Indices of the masks that stay.
    """
    kept: list[int] = []
    for number, code in enumerate(codes):
        others = [codes[i] for i in kept]
        if not others or coco_mask.iou([code], others, [0] * len(others)).max() <= threshold:
            kept.append(number)
    return kept
