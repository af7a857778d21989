"""Binary masks: run-length code, box, interior point, overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from samlet.data.rle import RLE as RLE
from samlet.data.rle import checked_code

Mask = NDArray[np.bool_]
"""(H, W) bool."""


def encode_rle(mask: Mask) -> RLE:
    """Compressed COCO RLE of an (H, W) mask; `counts` is text, so the result is JSON."""
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_rle(rle: RLE) -> Mask:
    """(H, W) mask of a COCO RLE, compressed or not."""
    if isinstance(rle["counts"], list):
        rle = checked_code(rle, *rle["size"])
    return coco_mask.decode(rle).astype(bool)


def rle_area(rle: RLE) -> int:
    """Number of pixels of a compressed COCO RLE."""
    return int(coco_mask.area(rle))


def union_area(rles: Sequence[RLE]) -> int:
    """Pixels that any of the masks of one photograph holds."""
    return int(coco_mask.area(coco_mask.merge([dict(rle) for rle in rles]))) if rles else 0


def rle_box(rle: RLE) -> tuple[int, int, int, int]:
    """`bounding_box` of a compressed COCO RLE, without decoding it."""
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    return x, y, width, height


def rle_from_segmentation(segmentation: Any, height: int, width: int) -> RLE:
    """RLE of a COCO `segmentation`: polygons, uncompressed or compressed RLE.

    Raises:
        InputError: it is no mask of an image of that size; see `samlet.data.rle`.
    """
    return checked_code(segmentation, height, width)


def bounding_box(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width, height of the smallest box around a mask, pixels; all 0 for an empty mask."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(cols[0]), int(rows[0]), int(cols[-1] - cols[0] + 1), int(rows[-1] - rows[0] + 1)


def interior_point(mask: Mask) -> tuple[int, int]:
    """x, y of the pixel furthest from everything outside a mask, the image's border included; of several the first."""
    x, y, width, height = bounding_box(mask)
    inside = np.pad(mask[y : y + height, x : x + width], 1)
    row, col = np.unravel_index(ndimage.distance_transform_edt(inside).argmax(), inside.shape)
    return x + int(col) - 1, y + int(row) - 1


@dataclass(frozen=True)
class Region:
    """A mask cut to its box, so that many of a large image fit in memory.

    Attributes:
        top: first row, pixels.
        left: first column, pixels.
        mask: (h, w) bool.
        area: pixels of the mask.
    """

    top: int
    left: int
    mask: Mask
    area: int

    @classmethod
    def of(cls, mask: Mask) -> Region:
        """The region of an (H, W) mask."""
        x, y, width, height = bounding_box(mask)
        inside = np.ascontiguousarray(mask[y : y + height, x : x + width])
        return cls(y, x, inside, int(np.count_nonzero(inside)))

    def iou(self, other: Mask) -> float:
        """Intersection over union with an (H, W) mask of the whole image; 1 where both are empty."""
        height, width = self.mask.shape
        common = np.count_nonzero(self.mask & other[self.top : self.top + height, self.left : self.left + width])
        union = self.area + np.count_nonzero(other) - common
        return common / union if union else 1.0


def mask_iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two (H, W) masks; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
