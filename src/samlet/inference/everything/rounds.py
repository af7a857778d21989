"""Which points everything mode asks, round by round."""

from __future__ import annotations

import math

import numpy as np

from samlet.inference.everything.candidates import CropMasks
from samlet.inference.everything.grids import Points, barren, checkerboard, point_grid, sparse_subset, surroundings
from samlet.inference.everything.options import EverythingOptions


def ask(crop: CropMasks, options: EverythingOptions, layer: int, height: int, width: int) -> None:
    """Ask all that is to be asked on a crop.

    Args:
        crop: takes the prompts.
        options: which strategy, and its grids.
        layer: of the crop.
        height: of the crop, pixels.
        width: of the crop, pixels.
    """
    if options.strategy == "hierarchical" and options.settling == "logits":
        _by_logits(crop, options, layer, height, width)
        return
    points = options.grid(layer) * [width, height]
    if options.strategy == "grid":
        crop.ask(points, np.arange(len(points)))
    else:
        _by_consensus(crop, options, layer, points)


def _by_logits(crop: CropMasks, options: EverythingOptions, layer: int, height: int, width: int) -> None:
    """TinySAM's two rounds, as its code runs them: a sparse grid, then what of its surroundings no mask settled."""
    side = options.sparse_on_side(layer)
    sparse = point_grid(side) * [width, height]
    crop.ask(sparse, np.arange(len(sparse)))
    around = surroundings(options.points_on_side(layer), side, height, width)
    rest = np.flatnonzero(~crop.exceeded(around, options.high_threshold))
    crop.ask(around[rest], len(sparse) + rest)


def _by_consensus(crop: CropMasks, options: EverythingOptions, layer: int, points: Points) -> None:
    """samlet's rounds over the full grid: a sparse part, every second point, the others, and a finer grid."""
    numbers = np.arange(len(points))
    sparse = sparse_subset(options.points_on_side(layer), options.sparse_on_side(layer))
    crop.ask(points[sparse], numbers[sparse])
    rest = ~sparse & (crop.settledness(points) <= options.high_threshold)
    if math.isfinite(options.high_threshold):
        half = rest & checkerboard(options.points_on_side(layer))
        crop.ask(points[half], numbers[half])
        fruitful = np.isin(numbers, list(crop.fruitful))
        rest &= ~half & ~barren(sparse | half, fruitful)
        rest &= crop.settledness(points) <= options.high_threshold
    crop.ask(points[rest], numbers[rest])
    budget = round(options.refined_share * (len(points) - crop.prompts))
    if budget:
        size = points[-1] + points[0]  # the grid is symmetric in its crop
        finer = point_grid(2 * options.points_on_side(layer)) * size
        chosen = np.sort(np.argsort(crop.settledness(finer), kind="stable")[:budget])
        crop.ask(finer[chosen], len(points) + chosen)
