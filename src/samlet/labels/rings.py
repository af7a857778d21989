"""Outlines of masks as rings of points: exact along the edges of pixels, simplified, and joined into one polygon."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from samlet.data.masks import Mask, bounding_box
from samlet.data.polygons import outline

Ring = NDArray[np.float64]
"""(K, 2) corners x, y of a closed outline, the first not repeated at the end; pixels, 0 at the image's left and upper
edge."""

_LEAST = 3  # points of a polygon
_MANY = 200  # rings, from which the shortest lines are no longer searched for


def region_rings(mask: Mask, tolerance: float = 0.0) -> list[list[Ring]]:
    """The outlines of the connected regions of an (H, W) mask: of each region the outer one first, then its holes.

    Args:
        mask: (H, W).
        tolerance: see `simplify`; an outline that would vanish stays as it is.
    """
    left, top, width, height = bounding_box(mask)
    labels, _ = ndimage.label(mask[top : top + height, left : left + width])
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        region = labels[place] == number
        corner = (left + place[1].start, top + place[0].start)
        # What touches the outside at a corner is no hole: the outer outline runs through there.
        holes, _ = ndimage.label(ndimage.binary_fill_holes(region, np.ones((3, 3))) & ~region)
        rings = [_ring(region, corner)]
        for hole, spot in enumerate(ndimage.find_objects(holes), start=1):
            rings.append(_ring(holes[spot] == hole, (corner[0] + spot[1].start, corner[1] + spot[0].start)))
        found.append([simplify(ring, tolerance) for ring in rings])
    return found


def _ring(region: Mask, corner: tuple[int, int]) -> Ring:
    return np.array(outline(region), float) + corner


def simplify(ring: Ring, tolerance: float) -> Ring:
    """The ring with fewer points: none that is left out lies further than `tolerance` pixels from the new outline.

    Douglas and Peucker, 1973, on the two halves between the first point and the one furthest from it. A ring that would
    be left with fewer than three points is returned as it is.
    """
    if tolerance <= 0 or len(ring) <= _LEAST:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, -1]] = True
    parts = [(0, far), (far, len(ring))]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        distances = _from_segment(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    found = ring[kept[:-1]]
    return found if len(found) >= _LEAST else ring


def _from_segment(points: Ring, start: Ring, end: Ring) -> NDArray[np.float64]:
    """Distances of (K, 2) points from the segment between two."""
    way = end - start
    length = float(way @ way)
    along = np.clip((points - start) @ way / length, 0, 1) if length else np.zeros(len(points))
    return np.linalg.norm(points - start - along[:, None] * way, axis=1)


def joined(rings: list[Ring]) -> Ring:
    """One ring out of several: each is entered and left over the same line, which encloses nothing.

    Readers that fill a polygon by the even-odd rule, as COCO's and OpenCV's do, see holes as holes and regions apart.
    """
    starts = np.cumsum([0, *(len(ring) for ring in rings)])
    points = np.concatenate(rings)
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    order: list[int] = following.tolist()
    came_from: list[int] = np.argsort(following).tolist()
    corners = list(range(len(points)))  # which point each step of the way is
    for here, there in _bridges(rings, starts):
        back, home = len(order), len(order) + 1  # a second visit to both ends of the line
        corners += [there, here]
        order += [home, order[here]]
        came_from += [came_from[there], back]
        order[came_from[there]] = back
        came_from[order[here]] = home
        order[here], came_from[there] = there, here
    way, step = [0], order[0]
    while step != 0:
        way.append(step)
        step = order[step]
    return points[[corners[step] for step in way]]


def _nearest(rings: list[Ring], starts: NDArray[np.int64], first: int, second: int) -> tuple[int, int]:
    """The shortest line between two rings: the numbers of its points."""
    distances, there = cKDTree(rings[second]).query(rings[first])
    here = int(distances.argmin())
    return int(starts[first]) + here, int(starts[second]) + int(there[here])


def _bridges(rings: list[Ring], starts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The shortest lines, one after the other, from what is joined to the next ring: numbers of their two points.

    Of very many rings each is joined to the one before it, which takes time in proportion to their number.
    """
    if len(rings) > _MANY:
        return [_nearest(rings, starts, number - 1, number) for number in range(1, len(rings))]
    trees = [cKDTree(ring) for ring in rings]
    nearest = dict.fromkeys(range(1, len(rings)), (np.inf, 0, 0))
    found, added = [], 0
    while nearest:
        for number, before in nearest.items():
            distances, there = trees[number].query(rings[added])
            here = int(distances.argmin())
            if distances[here] < before[0]:
                ends = int(starts[added]) + here, int(starts[number]) + int(there[here])
                nearest[number] = (float(distances[here]), *ends)
        added = min(nearest, key=lambda number: nearest[number][0])
        found.append(nearest.pop(added)[1:])
    return found
