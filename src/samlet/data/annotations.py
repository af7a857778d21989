"""True masks as the published layouts write them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samlet.data.masks import RLE, decode_rle, interior_point, rle_area, rle_box, rle_from_segmentation
from samlet.errors import InputError


@dataclass(frozen=True)
class Annotation:
    """One true mask and its prompts.

    Attributes:
        rle: the mask, COCO RLE.
        point: x, y inside the mask, pixels of the original image.
        box: x0, y0, x1, y1 around the mask, pixels of the original image.
    """

    rle: RLE
    point: tuple[float, float]
    box: tuple[float, float, float, float]

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return rle_area(self.rle)


def annotation(rle: RLE, point: Any = None) -> Annotation | None:
    """An annotation of a mask, with the point that its annotator gave if that lies in the image, or an innermost one.

    None for an empty mask, which no prompt can point at.
    """
    if not rle_area(rle):
        return None
    height, width = rle["size"]
    x, y, width_of_box, height_of_box = rle_box(rle)
    if point is None or not (0 <= point[0] < width and 0 <= point[1] < height):
        point = interior_point(decode_rle(rle))
    return Annotation(rle, (float(point[0]), float(point[1])), (x, y, x + width_of_box, y + height_of_box))


def read_annotations(name: str, entries: Sequence[Any], size: tuple[int, int] | None) -> tuple[Annotation, ...]:
    """Annotations of one image from COCO's or SA-1B's dictionaries.

    Args:
        name: of the image, for messages.
        entries: what the file lists.
        size: height and width, where the entries do not bring their own.

    Raises:
        InputError: an entry is no mask.
    """
    found = []
    for number, entry in enumerate(entries):
        try:
            segmentation = entry["segmentation"]
            if isinstance(segmentation, list):
                segmentation = [polygon for polygon in segmentation if len(polygon) >= 6]
                if not segmentation:
                    continue
            height, width = size or segmentation["size"]
            rle = rle_from_segmentation(segmentation, height, width)
            made = annotation(rle, (entry.get("point_coords") or [None])[0])
        except Exception as error:  # pycocotools raises bare ones
            raise InputError(
                f"{name}: annotation {number} is damaged: {error!r}; expected a polygon or an RLE"
            ) from error
        if made is not None:
            found.append(made)
    return tuple(found)
