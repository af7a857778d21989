"""Everything mode: all masks of an image, from a grid of points (Kirillov et al., "Segment Anything", 2023, section 5)
or hierarchically (Shu et al., "TinySAM", AAAI 2025, section 3.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from samlet.data.images import RGBImage
from samlet.data.masks import RLE, bounding_box, decode_rle, encode_rle, rle_area
from samlet.data.polygons import to_polygons
from samlet.data.transforms import Frame, preprocess
from samlet.inference.everything.candidates import CropMasks, EdgeTest
from samlet.inference.everything.dropped import Dropped
from samlet.inference.everything.grids import Box, crop_boxes
from samlet.inference.everything.keywords import EverythingKeywords
from samlet.inference.everything.options import EverythingOptions
from samlet.inference.everything.regions import remove_small_regions
from samlet.inference.everything.rounds import ask
from samlet.inference.everything.suppression import suppress, suppress_masks, with_area
from samlet.inference.predictor import AnyImage, as_model, as_rgb, finite_embedding
from samlet.inference.showing import MaskRecord, Showing
from samlet.io.progress import followed, progress_bar
from samlet.io.remarks import remark
from samlet.models import Embedding, PromptableModel

_MANY = 20  # masks, from which a bar is shown
_EDGE_TOLERANCE = 20  # pixels: a box that comes so near to a crop's inner edge is taken as cut off


class Everything(Showing, list[MaskRecord]):
    """The masks of an image, best predicted IoU first, as dictionaries.

    Keys: `segmentation` (see `output_mode`), `area`, `bbox` (x, y, width, height), `predicted_iou`,
    `stability_score`, `point_coords` ([[x, y]] of the prompt), `crop_box` (x, y, width, height); all in pixels.

    Attributes:
        decoder_prompts: prompts that the mask decoder answered.
        seconds: time of the whole call.
        size: height and width of the image, pixels.
        image: (H, W, 3) RGB; None where it is not at hand, as after a process has sent the masks to another.
        hint: where next to no mask is left, which threshold to lower; empty otherwise.
    """

    def __init__(
        self,
        masks: Iterable[MaskRecord],
        decoder_prompts: int,
        seconds: float,
        size: tuple[int, int],
        image: RGBImage | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(masks)
        self.decoder_prompts, self.seconds, self.size, self.image = decoder_prompts, seconds, size, image
        self.hint = hint

    def __repr__(self) -> str:
        height, width = self.size
        more = f"; {self.hint}" if self.hint else ""
        return f"Everything: {len(self)} masks, {width} x {height} pixels, {self.decoder_prompts} prompts{more}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Everything, (list(self), self.decoder_prompts, self.seconds, self.size, None, self.hint)

    def records(self) -> list[MaskRecord]:
        """The masks, as a plain list."""
        return list(self)

    def _height_and_width(self) -> tuple[int, int]:
        return self.size


@dataclass(frozen=True)
class _Mask:
    """A mask of the whole image; `box` is x0, y0, x1, y1 with the last column and row inclusive."""

    rle: RLE
    box: tuple[int, int, int, int]
    iou: float
    stability: float
    point: tuple[float, float]
    crop: Box


class MaskGenerator:
    """All masks of an image.

    Args:
        sam: the model.
        progress: show a bar over prompts, and over the masks whose small regions are removed.
        **options: fields of `EverythingOptions`.

    Examples:
        >>> generate = MaskGenerator(samlet.load("mobile_sam"), strategy="hierarchical")
        >>> masks = generate("photo.jpg")
        >>> masks[0]["bbox"], masks.decoder_prompts
    """

    def __init__(
        self, sam: PromptableModel | str | Path, progress: bool = False, **options: Unpack[EverythingKeywords]
    ) -> None:
        self.sam = as_model(sam).eval()
        self.progress = progress
        self.options = EverythingOptions(**options)
        self.image_size = self.sam.check_image_size(self.options.image_size)

    @torch.inference_mode()
    def __call__(self, image: AnyImage, encoded: tuple[Embedding, Frame] | None = None) -> Everything:
        """Masks of one image.

        Args:
            image: (H, W, 3) uint8 RGB, a PIL image or a path.
            encoded: its embedding by this model at this image size, and its place in the input, where
                they are known already.

        Raises:
            InputError: something that is no image.
        """
        start = time.perf_counter()
        pixels = as_rgb(image)
        height, width = pixels.shape[:2]
        masks: list[_Mask] = []
        prompts = 0
        crops = crop_boxes(height, width, self.options.crop_n_layers, self.options.crop_overlap_ratio)
        seen = Dropped()
        total = sum(len(self.options.grid(layer)) for _, layer in crops) if self.options.strategy == "grid" else None
        with progress_bar("segmenting everything", "prompt", total, shown=self.progress) as bar:
            for box, layer in crops:
                found, asked = self._crop(pixels, box, layer, encoded if layer == 0 else None, bar.update, seen)
                masks += found
                prompts += asked
        if len(crops) > 1:
            areas = [1 / ((m.crop[2] - m.crop[0]) * (m.crop[3] - m.crop[1])) for m in masks]
            masks = [
                masks[i] for i in suppress(self._areas([m.box for m in masks]), areas, self.options.crop_nms_thresh)
            ]
        if self.options.min_mask_region_area:
            masks = self._without_small_regions(masks)
        if self.options.max_mask_region_area:
            masks = [mask for mask in masks if rle_area(mask.rle) <= self.options.max_mask_region_area]
        if self.options.mask_nms_thresh < 1:
            order = sorted(range(len(masks)), key=lambda i: -masks[i].iou)
            kept = suppress_masks([masks[i].rle for i in order], self.options.mask_nms_thresh)
            masks = [masks[i] for i in sorted(order[k] for k in kept)]
        records = [self._record(mask) for mask in masks]
        sizes = self.image_size, self.sam.config.encoder.image_size
        hint = seen.hint(self.options, len(records), prompts, sizes)
        return Everything(records, prompts, time.perf_counter() - start, (height, width), pixels, hint)

    def _crop(
        self,
        image: RGBImage,
        box: Box,
        layer: int,
        encoded: tuple[Embedding, Frame] | None,
        asked: Callable[[int], object],
        seen: Dropped,
    ) -> tuple[list[_Mask], int]:
        """Masks of one crop, in pixels of the image, and the number of prompts."""
        height, width = image.shape[:2]
        x0, y0, x1, y1 = box
        if encoded is None:
            part = np.ascontiguousarray(image[y0:y1, x0:x1])
            inputs, frame = preprocess(part, self.image_size, *self.sam.preprocessing)
            encoded = finite_embedding(self.sam.encode(inputs[None].to(self.sam.dtype))), frame
        crop = CropMasks(self.sam, *encoded, self.options, asked, seen)
        ask(crop, self.options, layer, y1 - y0, x1 - x0)
        masks = [
            _Mask(
                rle=found.mask.encode(height, width, x0, y0),
                box=_moved(found.mask.box, x0, y0),
                iou=found.iou,
                stability=found.mask.stability,
                point=(found.point[0] + x0, found.point[1] + y0),
                crop=box,
            )
            for found in crop.settle(_edge_test(box, height, width))
        ]
        return masks, crop.prompts

    def _without_small_regions(self, masks: list[_Mask]) -> list[_Mask]:
        """Small holes and islands removed; of masks that have become alike, one that did not change stays."""
        cleaned, unchanged, filled = [], [], 0
        for mask in followed(masks, "small regions", "mask", shown=self.progress and len(masks) > _MANY):
            before = decode_rle(mask.rle)
            after = remove_small_regions(before, self.options.min_mask_region_area)
            unchanged.append(float(after is before))
            if after is not before:
                x, y, width, height = bounding_box(after)
                filled += bool(after.all())
                mask = replace(mask, rle=encode_rle(after), box=(x, y, x + width - 1, y + height - 1))
            cleaned.append(mask)
        if filled:
            remark(
                f"min_mask_region_area {self.options.min_mask_region_area}: {filled} of {len(masks)} masks became the "
                "whole picture, since all around them is smaller and was filled as a hole; ask for a smaller area"
            )
        limit = max(self.options.box_nms_thresh, self.options.crop_nms_thresh)
        return [cleaned[i] for i in suppress(self._areas([m.box for m in cleaned]), unchanged, limit)]

    def _areas(self, boxes: Sequence[Sequence[float]]) -> list[Sequence[float]]:
        """Boxes whose last pixels are inclusive, as suppression takes them."""
        return list(boxes) if self.options.exact else [with_area(box) for box in boxes]

    def _record(self, mask: _Mask) -> dict[str, Any]:
        segmentation: Any = mask.rle
        if self.options.output_mode == "binary_mask":
            segmentation = decode_rle(mask.rle)
        elif self.options.output_mode == "polygon":
            segmentation = to_polygons(decode_rle(mask.rle))
        x0, y0, x1, y1 = mask.box
        left, top, right, bottom = mask.crop
        return {
            "segmentation": segmentation,
            "area": rle_area(mask.rle),
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            "predicted_iou": mask.iou,
            "stability_score": mask.stability,
            "point_coords": [list(mask.point)],
            "crop_box": [left, top, right - left, bottom - top],
        }


def _moved(box: tuple[int, int, int, int], x: int, y: int) -> tuple[int, int, int, int]:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _edge_test(crop: Box, height: int, width: int) -> EdgeTest:
    """Whether a mask's box, in pixels of the crop, ends at an edge of the crop that is no edge of the image."""
    edges = np.array(crop)
    inner = ~np.isclose(edges, [0, 0, width, height], rtol=0, atol=0)

    def touches(box: tuple[int, int, int, int]) -> bool:
        ends = np.array(_moved(box, crop[0], crop[1]))
        near_image = np.isclose(ends, [0, 0, width, height], rtol=0, atol=_EDGE_TOLERANCE)
        return bool((inner & ~near_image & np.isclose(ends, edges, rtol=0, atol=_EDGE_TOLERANCE)).any())

    return touches
