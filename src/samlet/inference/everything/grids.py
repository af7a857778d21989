"""Where everything mode clicks: grids of points, their subset for a first round, and overlapping crops."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

_NEAR = 5  # points: side of a point's neighbourhood

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

Points = NDArray[np.float64]
"""(N, 2) x, y."""


def point_grid(points_per_side: int) -> Points:
    """Cell centres of a square grid over [0, 1]², row by row, (points_per_side², 2)."""
    axis = (np.arange(points_per_side) + 0.5) / points_per_side
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def as_points(values: ArrayLike) -> Points:
    """Points that a caller gave, (N, 2), as floats."""
    return np.asarray(values, float)


def sparse_subset(points_per_side: int, sparse_per_side: int) -> NDArray[np.bool_]:
    """Which points of a grid make an even grid of fewer points a side, symmetric to both axes, (points_per_side²,)."""
    axis = np.zeros(points_per_side, bool)
    ideal = (np.arange(sparse_per_side) + 0.5) * points_per_side / sparse_per_side - 0.5
    first_half = np.floor(ideal[: (sparse_per_side + 1) // 2]).astype(int)
    axis[first_half] = True
    axis[points_per_side - 1 - first_half] = True
    return np.logical_and.outer(axis, axis).ravel()


def surroundings(points_per_side: int, sparse_per_side: int, height: int, width: int) -> Points:
    """What lies around the points of a sparse grid at the density of the full one: TinySAM's second round.

    With a quarter of the points a side, each sparse point has fifteen others, which make a 4x4 block with it: one step
    before it and two after it on both axes. A step is the full grid's, in whole pixels where it has one or more. Where
    the sparse grid does not divide the full one, blocks are rounded up, and overlap.

    Args:
        points_per_side: of the full grid.
        sparse_per_side: of the sparse one, `point_grid(sparse_per_side)`.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        Pixels inside the image, block by block, (N, 2).
    """
    size = np.array([width, height])
    step = np.where(size < points_per_side, size / points_per_side, size // points_per_side)
    side = math.ceil(points_per_side / sparse_per_side)
    axis = np.arange(side) - (side - 1) // 2
    block = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    around = block[block.any(axis=1)] * step
    points = (point_grid(sparse_per_side) * size)[:, None] + around
    return points[(points < size).all(axis=-1)]


def checkerboard(points_per_side: int) -> NDArray[np.bool_]:
    """Every second point of a grid, as the white squares of a chessboard lie, (points_per_side²,)."""
    axis = np.arange(points_per_side)
    return (axis[:, None] + axis).ravel() % 2 == 0


def barren(asked: NDArray[np.bool_], fruitful: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points of a square grid have neighbours that were asked, and none that gave a good mask, (N,).

    Args:
        asked: (N,).
        fruitful: which gave a good mask (N,).
    """
    side = round(len(asked) ** 0.5)
    near = np.ones((_NEAR, _NEAR), bool)
    around, good = (ndimage.binary_dilation(which.reshape(side, side), near).ravel() for which in (asked, fruitful))
    return around & ~good


def crop_boxes(height: int, width: int, layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """The whole image, then in layer i its cover by 2^i x 2^i overlapping crops (segment-anything's layout).

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        layers: number of layers besides the whole image.
        overlap_ratio: overlap of neighbours in the first layer over the image's shorter side; half in each next one.

    Returns:
        Boxes inside the image, each with its layer (0 for the whole image).
    """
    boxes: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * 2 / count)
        crop_width = math.ceil((overlap * (count - 1) + width) / count)
        crop_height = math.ceil((overlap * (count - 1) + height) / count)
        for column in range(count):
            for row in range(count):
                x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
                box = (x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height))
                if box[0] < box[2] and box[1] < box[3]:
                    boxes.append((box, layer))
    return boxes
