"""Polygons of masks, exact along the edges of pixels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from samlet.data.masks import Mask

_RIGHT, _DOWN, _LEFT, _UP = (1, 0), (0, 1), (-1, 0), (0, -1)


def to_polygons(mask: Mask) -> list[list[float]]:
    """COCO polygons [x0, y0, x1, y1, …] that together cover exactly the pixels of an (H, W) mask.

    Corners lie on the edges of pixels. COCO's polygons have no holes, so a region with one is cut in two there.
    """
    labels, _ = ndimage.label(mask)
    polygons = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        region = labels[place] == number
        polygons += [
            [value + (place[1].start, place[0].start)[i % 2] for i, value in enumerate(polygon)]
            for polygon in _region_polygons(region)
        ]
    return polygons


def _region_polygons(region: Mask) -> list[list[float]]:
    """Polygons of a mask, cut into regions without holes."""
    pieces = [(region, 0, 0)]
    done = []
    while pieces:
        piece, x, y = pieces.pop()
        holes = ndimage.binary_fill_holes(piece) & ~piece
        if not holes.any():
            done.append([float(v) for corner in outline(piece) for v in (corner[0] + x, corner[1] + y)])
            continue
        cut = int(np.flatnonzero(holes.any(axis=0))[0]) + 1  # a column through the first hole
        for part, offset in ((piece[:, :cut], 0), (piece[:, cut:], cut)):
            labels, _ = ndimage.label(part)
            for number, place in enumerate(ndimage.find_objects(labels), start=1):
                pieces.append((labels[place] == number, x + offset + place[1].start, y + place[0].start))
    return done


def outline(region: Mask) -> list[tuple[int, int]]:
    """Corners of the outer boundary of a 4-connected region, clockwise from its first pixel in reading order."""
    padded = np.pad(region, 1)
    row, column = np.argwhere(region)[0]
    x, y = int(column), int(row)  # the top left corner of that pixel; the region lies to the right of the way
    start, heading = (x, y), _RIGHT
    corners = [start]
    while True:
        x, y = x + heading[0], y + heading[1]
        # The two pixels ahead of this corner, left and right of the heading.
        left = {_RIGHT: (y - 1, x), _DOWN: (y, x), _LEFT: (y, x - 1), _UP: (y - 1, x - 1)}[heading]
        right = {_RIGHT: (y, x), _DOWN: (y, x - 1), _LEFT: (y - 1, x - 1), _UP: (y - 1, x)}[heading]
        ahead_left, ahead_right = (bool(padded[r + 1, c + 1]) for r, c in (left, right))
        if not ahead_right:  # turn right, also where regions touch at a corner only
            turned = {_RIGHT: _DOWN, _DOWN: _LEFT, _LEFT: _UP, _UP: _RIGHT}[heading]
        elif ahead_left:
            turned = {_RIGHT: _UP, _UP: _LEFT, _LEFT: _DOWN, _DOWN: _RIGHT}[heading]
        else:
            turned = heading
        if (x, y) == start and turned == _RIGHT:
            return corners
        if turned != heading:
            corners.append((x, y))
        heading = turned
