"""What a person types as prompts, checked and batched for the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samlet.data.transforms import Frame
from samlet.errors import InputError
from samlet.io.remarks import remark
from samlet.models.decoders.sam.prompt_encoder import PADDING

_TOLERANCE = 1.0  # pixels
_LARGE = 64  # pixels, of the longer side


@dataclass(frozen=True)
class Prompts:
    """P prompts on one image, in pixels of the encoder's input; see `Sam.decode` for the shapes."""

    points: Tensor | None
    labels: Tensor | None
    boxes: Tensor | None
    masks: Tensor | None
    count: int
    asked: tuple[Any, Any, Any] = (None, None, None)
    """Points, labels and boxes in pixels of the original image, as arrays."""

    def part(self, start: int, stop: int) -> dict[str, Tensor | None]:
        """Arguments of `Sam.decode` for some of the prompts."""
        values = {"points": self.points, "labels": self.labels, "boxes": self.boxes, "masks": self.masks}
        return {name: None if value is None else value[start:stop] for name, value in values.items()}


def make_prompts(
    frame: Frame,
    low_res_size: tuple[int, int],
    points: Any = None,
    labels: Any = None,
    boxes: Any = None,
    masks: Any = None,
) -> Prompts:
    """Check and batch prompts in pixels of the original image.

    Args:
        frame: the image's place in the encoder's input.
        low_res_size: height and width of mask prompts.
        points: (2,) for one click, (K, 2) for one prompt, (P, K, 2) for P, or a list of P arrays (K_i, 2) of differing
            lengths.
        labels: 1 foreground or 0 background in the shape of `points` less its last axis; all 1 if None.
        boxes: (4,) or (P, 4) x0, y0, x1, y1.
        masks: low-res logits (P, h, w), or (P, 1, h, w), or (h, w).

    Raises:
        InputError: shapes that do not fit, or coordinates outside the image.
    """
    counts: dict[str, int] = {}
    point_batch = label_batch = box_batch = mask_batch = None
    point_array = label_array = box_array = None
    for name, given in (("points", points), ("boxes", boxes), ("masks", masks)):
        if given is not None and not len(given):
            raise InputError(f"{name} is empty; expected at least one prompt, or None")
    if points is not None:
        point_list, label_list = _point_lists(points, labels)
        counts["points"] = len(point_list)
        longest = max(len(p) for p in point_list)
        point_array = np.zeros((len(point_list), longest, 2), np.float32)
        label_array = np.full((len(point_list), longest), PADDING, np.int64)
        for row, (p, label) in enumerate(zip(point_list, label_list, strict=True)):
            point_array[row, : len(p)], label_array[row, : len(p)] = points_inside(p, frame), label
        point_batch = frame.to_input(torch.from_numpy(point_array))
        label_batch = torch.from_numpy(label_array)
    elif labels is not None:
        raise InputError("labels were given without points; expected one label for each point")
    if boxes is not None:
        box_array = np.atleast_2d(_floats(boxes, "boxes"))
        if box_array.ndim != 2 or box_array.shape[1] != 4:
            raise InputError(f"boxes have shape {box_array.shape}; expected (P, 4): x0, y0, x1, y1")
        box_array = boxes_inside(box_array, frame)
        counts["boxes"] = len(box_array)
        box_batch = frame.to_input(torch.from_numpy(box_array).view(-1, 2, 2)).view(-1, 4)
    if masks is not None:
        mask_batch = torch.as_tensor(masks, dtype=torch.float32)
        mask_batch = mask_batch[None] if mask_batch.ndim == 2 else mask_batch
        mask_batch = mask_batch[:, None] if mask_batch.ndim == 3 else mask_batch
        if mask_batch.ndim != 4 or mask_batch.shape[1:] != (1, *low_res_size):
            expected = f"(P, 1, {low_res_size[0]}, {low_res_size[1]})"
            raise InputError(f"masks have shape {tuple(mask_batch.shape)}; expected low-res logits {expected}")
        counts["masks"] = len(mask_batch)
    if not counts:
        raise InputError("no prompt was given; expected points, boxes or masks")
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise InputError(f"{given} were given together; expected as many of each, one for each prompt")
    asked = (point_array, label_array, box_array)
    return Prompts(point_batch, label_batch, box_batch, mask_batch, next(iter(counts.values())), asked)


def _floats(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} cannot be read as numbers: {error}; expected arrays of coordinates") from error


def _point_lists(points: Any, labels: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if len(points) == 2 and all(np.shape(value) == () for value in points):
        points, labels = [points], None if labels is None else np.atleast_1d(labels)
    is_ragged = isinstance(points, Sequence) and len({np.shape(p) for p in points}) > 1
    if is_ragged:
        point_list = [_floats(p, "points") for p in points]
    else:
        array = _floats(points, "points")
        if array.ndim == 2 and array.shape[0] > 1 and labels is None:
            remark(
                f"points of shape {array.shape} are {len(array)} clicks on one object; for prompts of one click each, "
                "give shape (P, 1, 2); labels say that clicks on one object are meant"
            )
        point_list = list(array[None] if array.ndim == 2 else array)
    for p in point_list:
        if p.ndim != 2 or p.shape[-1] != 2 or not len(p):
            raise InputError(f"a prompt's points have shape {p.shape}; expected (K, 2): x before y, at least one")
    if labels is None:
        return point_list, [np.ones(len(p), np.int64) for p in point_list]
    label_list = [np.asarray(entry) for entry in (labels if is_ragged or np.ndim(labels) == 2 else [labels])]
    if [entry.shape for entry in label_list] != [(len(p),) for p in point_list]:
        raise InputError("labels do not match points; expected one label for each point")
    wrong = sorted({float(v) for entry in label_list for v in entry.ravel()} - {0.0, 1.0})
    if wrong:
        raise InputError(f"label {wrong[0]:g} is unknown; expected 1 (foreground) or 0 (background)")
    return point_list, [entry.astype(np.int64) for entry in label_list]


def points_inside(points: np.ndarray, frame: Frame) -> np.ndarray:
    """Points (K, 2); those up to a pixel outside the image, as rounding leaves them, moved into it.

    Raises:
        InputError: one lies further outside.
    """
    limit = np.array([frame.width, frame.height], np.float32)
    inside = ((points >= -_TOLERANCE) & (points <= limit + _TOLERANCE)).all(axis=1)
    if not inside.all():
        x, y = points[~inside][0]
        raise InputError(
            f"point {x:g},{y:g} lies outside the image, which is {frame.width} wide and {frame.height} high; "
            "expected x before y, in pixels of the original image"
        )
    _hint_at_shares(points, frame, "point")
    return np.where(points >= limit, limit - 1, points.clip(0)).astype(np.float32)


def boxes_inside(boxes: np.ndarray, frame: Frame) -> np.ndarray:
    """Boxes (P, 4); corners up to a pixel outside the image, as detectors give them, moved to its edge.

    Raises:
        InputError: a box is empty or reaches further outside.
    """
    limit = np.array([frame.width, frame.height] * 2, np.float32)
    near = ((boxes >= -_TOLERANCE) & (boxes <= limit + _TOLERANCE)).all(axis=1)
    clipped = np.clip(boxes, 0, limit).astype(np.float32)
    x0, y0, x1, y1 = clipped.T
    fits = near & (x0 < x1) & (y0 < y1)
    if not fits.all():
        shown = ",".join(f"{v:g}" for v in boxes[~fits][0])
        raise InputError(
            f"box {shown} is empty or reaches outside the image, which is {frame.width} wide and {frame.height} high; "
            "expected x0,y0,x1,y1 with x0 < x1 and y0 < y1, in pixels of the original image"
        )
    _hint_at_shares(clipped, frame, "box")
    return clipped


def _hint_at_shares(values: np.ndarray, frame: Frame, what: str) -> None:
    """Say so where coordinates look like shares of a large image."""
    if max(frame.width, frame.height) < _LARGE or not values.size or values.max() > 1 or (values % 1 == 0).all():
        return
    shown = ",".join(f"{v:g}" for v in values[0])
    remark(
        f"{what} {shown} lies in the first pixel of an image of {frame.width} x {frame.height}: coordinates are "
        "pixels, x before y, not shares of the image"
    )
