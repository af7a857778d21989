"""What a model is compared with on one image: masks made by hand, or those of a reference model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samlet.data.annotations import other_size
from samlet.data.images import RGBImage
from samlet.data.masks import Region, bounding_box, decode_rle
from samlet.data.samples import Sample
from samlet.errors import InputError
from samlet.inference.segmenter import Segmenter

Rule = Literal["single", "best", "oracle"]
RULES: tuple[Rule, ...] = ("single", "best", "oracle")
_GRID_SIDE = 4


@dataclass(frozen=True)
class GroundTruth:
    """P masks of one image and their prompts.

    Attributes:
        points: (P, 2) x, y inside the mask, pixels.
        boxes: (P, 4) x0, y0, x1, y1 around it.
        regions: the masks, by the rule that they are compared under.
    """

    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    regions: Mapping[Rule, list[Region]]

    @property
    def areas(self) -> list[int]:
        """Pixels of each mask."""
        return [region.area for region in self.regions["best"]]


def annotated_truth(sample: Sample, shape: tuple[int, int]) -> GroundTruth | None:
    """The true masks of an image of `shape` (height, width); None if there is none.

    Raises:
        InputError: the masks belong to an image of another size.
    """
    if not sample.annotations:
        return None
    regions = []
    for annotation in sample.annotations:
        mask = decode_rle(annotation.rle)
        if mask.shape != shape:
            raise InputError(other_size(sample.path, shape, (mask.shape[0], mask.shape[1])))
        regions.append(Region.of(mask))
    return GroundTruth(
        np.array([a.point for a in sample.annotations], np.float32),
        np.array([a.box for a in sample.annotations], np.float32),
        dict.fromkeys(RULES, regions),
    )


def grid_points(height: int, width: int, side: int) -> NDArray[np.float32]:
    """(side², 1, 2) centres of the cells of a grid over an image, x before y, pixels."""
    y, x = np.mgrid[0:side, 0:side]
    points = np.stack([(x + 0.5) * width / side, (y + 0.5) * height / side], axis=-1)
    return points.reshape(-1, 1, 2).astype(np.float32)


def reference_truth(reference: Segmenter, image: RGBImage, by_box: bool) -> GroundTruth | None:
    """What a reference model answers to a grid of points, or to the boxes of those masks; None if nothing."""
    height, width = image.shape[:2]
    reference.set_image(image)
    points = grid_points(height, width, _GRID_SIDE)
    found = _answered(reference, points=points)
    kept = [i for i, region in enumerate(found["best"]) if region.area]
    if not kept:
        return None
    points = points[kept]
    if by_box:  # the reference answers the box, as the model will have to
        boxes = np.array([_box(found["best"][i]) for i in kept], np.float32)
        return GroundTruth(points[:, 0], boxes, _answered(reference, boxes=boxes))
    chosen: dict[Rule, list[Region]] = {rule: [regions[i] for i in kept] for rule, regions in found.items()}
    return GroundTruth(points[:, 0], np.zeros((len(kept), 4), np.float32), chosen)


def _answered(reference: Segmenter, **prompts: NDArray[np.float32]) -> dict[Rule, list[Region]]:
    answers = reference.answer(**prompts)
    single, best = [], []
    for p in range(len(answers.scores)):
        chosen = answers.best(p)
        masks = answers.draw(p, [int(answers.singles[p]), chosen])
        single.append(Region.of(masks[0]))
        best.append(Region.of(masks[1]))
    return {"single": single, "best": best, "oracle": best}


def _box(region: Region) -> tuple[int, int, int, int]:
    x, y, width, height = bounding_box(region.mask)
    return region.left + x, region.top + y, region.left + x + width, region.top + y + height
