"""What a YOLOv8-seg network with one class finds on an image, and how prompts choose among it.

FastSAM is such a network: Zhao et al., "Fast Segment Anything", 2023, section 3. Rounding, borders and rules are its
authors'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samlet.data.images import RGBImage
from samlet.data.masks import RLE, Mask, decode_rle, encode_rle, rle_area
from samlet.inference.everything.suppression import box_iou
from samlet.inference.segmenter import Answers
from samlet.models.decoders.sam.prompt_encoder import PADDING

Floats = NDArray[np.float32]

COEFFICIENTS = 32
"""Mask coefficients of a detection, and channels of the prototypes."""

_GREY = 114  # of the padding
_MAX_CANDIDATES = 30_000  # the best scored that suppression looks at
_EDGE = 20  # pixels of the input: a box that ends so near to an edge ends at it
_FULL_IOU = 0.9  # a box that overlaps so much with the whole input is the whole input
_MAX_PIXELS = 1 << 22  # full-resolution logits that exist at once: 16 MB of float32


@dataclass(frozen=True)
class Letterbox:
    """How an image lies in the network's input: in the middle, as large as fits, grey around it.

    Attributes:
        height: of the original image, pixels.
        width: of the original image, pixels.
        input_size: height and width of the network's input, pixels.
    """

    height: int
    width: int
    input_size: tuple[int, int]

    def pixels(self, image: RGBImage) -> Floats:
        """The network's input (1, 3, H, W) in [0, 1] for an image (height, width, 3).

        Bilinear without antialiasing, in float and rounded, where the authors resize with OpenCV's INTER_LINEAR, which
        counts in fixed point: a pixel differs by at most one of 255 levels.
        """
        gain = self._gain(*self.input_size)
        height, width = max(1, round(self.height * gain)), max(1, round(self.width * gain))
        values = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        if (height, width) != (self.height, self.width):
            values = F.interpolate(values, (height, width), mode="bilinear", align_corners=False, antialias=False)
            values = (values + 0.5).floor()
        high, wide = (self.input_size[0] - height) / 2, (self.input_size[1] - width) / 2
        padding = [round(wide - 0.1), round(wide + 0.1), round(high - 0.1), round(high + 0.1)]
        return (F.pad(values, padding, value=_GREY) / 255).numpy()

    def to_image(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) in pixels of the input to pixels of the original image, clipped to it."""
        gain = self._gain(*self.input_size)
        x, y = (
            round((outer - inner * gain) / 2 - 0.1)
            for outer, inner in ((self.input_size[1], self.width), (self.input_size[0], self.height))
        )
        moved = (boxes - np.array([x, y, x, y], np.float32)) / np.float32(gain)
        return moved.clip(0, np.array([self.width, self.height] * 2, np.float32))

    def crop(self, prototypes: Floats) -> Floats:
        """The part of the prototypes (C, h, w) that the image reaches; the rest is padding."""
        rows, columns = prototypes.shape[1:]
        gain = self._gain(rows, columns)
        y, x = (rows - self.height * gain) / 2, (columns - self.width * gain) / 2
        return prototypes[:, int(y) : int(rows - y), int(x) : int(columns - x)]

    def _gain(self, rows: int, columns: int) -> float:
        return min(rows / self.height, columns / self.width)


@dataclass(frozen=True)
class Detections:
    """N objects on an image, best score first.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1, pixels of the original image.
        scores: (N,) in [0, 1].
        masks: N run-length codes of masks.
        size: height and width of the original image, pixels.
    """

    boxes: Floats
    scores: Floats
    masks: list[RLE]
    size: tuple[int, int]

    def by_points(self, points: Floats, labels: NDArray[np.int64]) -> Answers:
        """Answers to points (P, K, 2) with labels (P, K), some of them padding; see `FastSam.answer`."""
        pixels = np.dstack([np.trunc(points), np.ones_like(points)])
        holds = (self._iou(pixels.reshape(-1, 4)) > 0).reshape(-1, *labels.shape) & (labels != PADDING)
        order = np.argsort([-rle_area(mask) for mask in self.masks], kind="stable")
        choices = []
        for p, label in enumerate(labels):
            touched = order[holds[order, p].any(axis=1)]
            choices.append([(int(i), bool(label[holds[i, p]][-1] == 1)) for i in touched])
        return self._answers(choices)

    def by_boxes(self, boxes: Floats) -> Answers:
        """Answers to boxes (P, 4); see `FastSam.answer`."""
        corners = np.rint(boxes)
        overlap = self._iou(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]))
        return self._answers([[(int(column.argmax()), True)] if len(column) else [] for column in overlap.T])

    def records(self) -> list[dict[str, Any]]:
        """Dictionaries as in `Everything`; see `FastSam.everything`."""
        height, width = self.size
        return [
            {
                "segmentation": mask,
                "area": rle_area(mask),
                "bbox": [int(value) for value in coco_mask.toBbox(mask)],
                "predicted_iou": float(score),
                "stability_score": 1.0,
                "point_coords": [[float(x0 + x1) / 2, float(y0 + y1) / 2]],
                "crop_box": [0, 0, width, height],
            }
            for (x0, y0, x1, y1), score, mask in zip(self.boxes, self.scores, self.masks, strict=True)
        ]

    def _answers(self, choices: list[list[tuple[int, bool]]]) -> Answers:
        """One mask a prompt: masks by number, in this order added to it (True) or cut out of it (False)."""
        scores = [[max((self.scores[i] for i, added in choice if added), default=0)] for choice in choices]

        def draw(prompt: int, outputs: Sequence[int]) -> NDArray[np.bool_]:
            drawn = np.zeros(self.size, bool)
            for i, added in choices[prompt]:
                drawn[decode_rle(self.masks[i])] = added
            return np.repeat(drawn[None], len(outputs), axis=0)

        return Answers(np.array(scores, np.float32), np.zeros(len(choices), np.intp), (0,), draw)

    def _iou(self, rectangles: Floats) -> NDArray[np.float64]:
        """IoU (N, R) of the masks with rectangles (R, 4) x, y, width, height of whole pixels."""
        if not self.masks:
            return np.zeros((0, len(rectangles)))
        codes = coco_mask.frPyObjects(rectangles.astype(np.float64), *self.size)
        return coco_mask.iou(self.masks, codes, [0] * len(codes))


def detect(
    predictions: Floats, prototypes: Floats, frame: Letterbox, confidence: float, iou: float, limit: int
) -> Detections:
    """Detections and their masks on the original image.

    Args:
        predictions: (37, N) and the thresholds; see `find_boxes`.
        prototypes: (32, H/4, W/4).
        frame: the image's place in the network's input.
        confidence: see `find_boxes`.
        iou: see `find_boxes`.
        limit: see `find_boxes`.
    """
    boxes, scores, coefficients = find_boxes(predictions, confidence, iou, limit)
    boxes, size = frame.to_image(snap_to_edges(boxes, frame.input_size)), (frame.height, frame.width)
    reached = frame.crop(prototypes)
    pairs = zip(coefficients, boxes, strict=True)
    return Detections(boxes, scores, [encode_rle(draw_mask(reached, row, box, size)) for row, box in pairs], size)


def find_boxes(output: Floats, confidence: float, iou: float, limit: int) -> tuple[Floats, Floats, Floats]:
    """Read the network's predictions and suppress the lesser of those that overlap.

    Args:
        output: (37, N), one column an anchor: centre x, y, width and height in pixels of the input, score,
            32 coefficients.
        confidence: predictions of a score of at most this are dropped.
        iou: a box goes whose IoU with a better one that stays is larger.
        limit: most detections that stay.

    Returns:
        Best score first, boxes (K, 4) x0, y0, x1, y1 in pixels of the input, scores (K,) and coefficients (K, 32).
    """
    columns = output[:, output[4] > confidence].T
    columns = columns[np.argsort(-columns[:, 4], kind="stable")[:_MAX_CANDIDATES]]
    centres, sides = columns[:, :2], columns[:, 2:4]
    boxes: Floats = np.hstack([centres - sides / 2, centres + sides / 2])
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < limit:
        kept.append(int(left[0]))
        left = left[1:][box_iou(boxes[left[0]], boxes[left[1:]]) <= iou]
    return boxes[kept], columns[kept, 4], columns[kept, 5:]


def snap_to_edges(boxes: Floats, input_size: tuple[int, int]) -> Floats:
    """Boxes (N, 4) in pixels of the input, moved to its edges where they nearly reach them; its authors' rule."""
    height, width = input_size
    snapped = boxes.copy()
    snapped[:, :2][snapped[:, :2] < _EDGE] = 0
    for axis, end in ((2, width), (3, height)):
        snapped[snapped[:, axis] > end - _EDGE, axis] = end
    whole = np.array([0, 0, width, height], np.float32)
    snapped[box_iou(whole, snapped) > _FULL_IOU] = whole
    return snapped


def draw_mask(prototypes: Floats, coefficients: Floats, box: Floats, size: tuple[int, int]) -> Mask:
    """The mask of one detection: where the logits, upscaled bilinearly, exceed 0 inside its box.

    Args:
        prototypes: (32, h, w) of the image without padding; see `Letterbox.crop`.
        coefficients: (32,).
        box: x0, y0, x1, y1, pixels of the image; pixel x is inside for x0 <= x < x1.
        size: height and width of the image, pixels.

    Returns:
        (height, width), laid out column by column as COCO's run-length code is.
    """
    mask = np.zeros(size, bool, order="F")
    x0, y0, x1, y1 = (int(value) for value in np.ceil(box))
    if x0 >= x1 or y0 >= y1:
        return mask
    rows, columns = prototypes.shape[1:]
    left, right, towards_right = _neighbours(x0, x1, columns, size[1])
    strip = max(1, _MAX_PIXELS // (x1 - x0))
    for start in range(y0, y1, strip):
        stop = min(start + strip, y1)
        upper, lower, towards_lower = _neighbours(start, stop, rows, size[0])
        top, first = upper[0], left[0]
        logits = np.tensordot(coefficients, prototypes[:, top : lower[-1] + 1, first : right[-1] + 1], 1)
        logits = logits[:, left - first] * (1 - towards_right) + logits[:, right - first] * towards_right
        down = towards_lower[:, None]
        mask[start:stop, x0:x1] = logits[upper - top] * (1 - down) + logits[lower - top] * down > 0
    return mask


def _neighbours(start: int, stop: int, cells: int, pixels: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Between which two of so many cells pixels start … stop lie, and how far towards the second, in [0, 1)."""
    places = ((np.arange(start, stop) + 0.5) * (cells / pixels) - 0.5).clip(0, cells - 1)
    before = places.astype(np.int64)
    return before, np.minimum(before + 1, cells - 1), (places - before).astype(np.float32)
