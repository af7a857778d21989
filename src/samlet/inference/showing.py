"""Answers that show themselves, and turn into what other programs take: what `Prediction` and `Everything` share."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samlet.data.images import RGBImage
from samlet.data.masks import Mask, bounding_box, decode_rle, encode_rle, rle_from_segmentation
from samlet.data.polygons import to_polygons
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.writing import RESULT_FILES, new_folder, write_json
from samlet.reporting.overlay import draw_masks, draw_prompts

_LARGEST_SHOWN = 1024  # pixels, of the picture in a notebook

MaskRecord = dict[str, Any]
"""One mask as a dictionary: `segmentation`, `area`, `bbox` (x, y, width, height), `predicted_iou`, `stability_score`,
`point_coords` ([[x, y]] of the prompt); pixels of the original image."""


def mask_record(mask: Mask, iou: float, stability: float, points: Sequence[Sequence[float]] = ()) -> MaskRecord:
    """The record of an (H, W) mask, its segmentation as COCO RLE."""
    return {
        "segmentation": encode_rle(mask),
        "area": int(mask.sum()),
        "bbox": list(bounding_box(mask)),
        "predicted_iou": float(iou),
        "stability_score": float(stability),
        "point_coords": [[float(x), float(y)] for x, y in points],
    }


class Showing:
    """What answers have in common.

    Attributes:
        image: (H, W, 3) RGB, what the masks are of; None where it is not at hand.
    """

    image: RGBImage | None = None

    def records(self) -> list[MaskRecord]:
        """One dictionary a mask; see `MaskRecord`."""
        raise NotImplementedError

    def _height_and_width(self) -> tuple[int, int]:
        raise NotImplementedError

    def _prompts(self) -> tuple[Any, Any, Any]:
        """Points (K, 2), labels (K,) and boxes (B, 4) to draw."""
        return None, None, None

    def _masks(self) -> list[Mask]:
        height, width = self._height_and_width()
        given = [record["segmentation"] for record in self.records()]
        codes = (rle_from_segmentation(s, height, width) if isinstance(s, dict | list) else s for s in given)
        return [decode_rle(code) if isinstance(code, dict) else code for code in codes]

    def plot(self, image: RGBImage | None = None, numbers: bool = False) -> Image.Image:
        """The photograph with tinted masks and the prompts, as a picture; a notebook shows it.

        Args:
            image: (H, W, 3) uint8 RGB, where the answer does not know it.
            numbers: write each mask's number on it.

        Raises:
            InputError: the photograph is not at hand.
        """
        photograph = self.image if image is None else image
        if photograph is None:
            raise InputError("the answer does not know its photograph any more; give it: plot(image)")
        return draw_prompts(draw_masks(photograph, self._masks(), labels=numbers), *self._prompts())

    def _repr_png_(self) -> bytes | None:
        if self.image is None:
            return None
        picture, written = self.plot(), io.BytesIO()
        picture.thumbnail((_LARGEST_SHOWN, _LARGEST_SHOWN))
        picture.save(written, format="png")
        return written.getvalue()

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write `masks.json`, with run-length code, and `overlay.png` if the photograph is at hand.

        Args:
            folder: a new one.
            overwrite: replace an earlier result.

        Raises:
            InputError: the folder holds something else.
        """
        out = expanded(folder)
        records = [
            {**record, "segmentation": encode_rle(mask)}
            for record, mask in zip(self.records(), self._masks(), strict=True)
        ]
        with new_folder(out, RESULT_FILES, overwrite) as temporary:
            write_json(temporary / "masks.json", {"masks": records})
            if self.image is not None:
                self.plot().save(temporary / "overlay.png")
        return out

    def polygons(self) -> list[list[list[float]]]:
        """Of each mask COCO polygons [x0, y0, x1, y1, …], exact along the pixels; see `samlet.data.polygons`."""
        return [to_polygons(mask) for mask in self._masks()]

    def to_coco(self, image_id: int = 1, category_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO annotations, with compressed run-length code.

        Args:
            image_id: of all of them.
            category_id: of all of them.
            first_id: of the first; the others follow.
        """
        return [
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": category_id,
                "iscrowd": 0,
                "area": record["area"],
                "bbox": list(record["bbox"]),
                "segmentation": encode_rle(mask),
                "score": record["predicted_iou"],
            }
            for number, (record, mask) in enumerate(zip(self.records(), self._masks(), strict=True))
        ]

    def to_supervision(self) -> Any:
        """`supervision.Detections`: boxes x0, y0, x1, y1, masks, and predicted IoU as confidence.

        Raises:
            InputError: supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise InputError("supervision is not installed; run: pip install supervision") from error
        records, masks = self.records(), self._masks()
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (record["bbox"] for record in records)]
        return supervision.Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            mask=np.stack(masks) if masks else np.zeros((0, *self._height_and_width()), bool),
            confidence=np.array([record["predicted_iou"] for record in records], np.float32),
        )
