"""The answer to prompts on one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samlet.data.images import RGBImage
from samlet.data.masks import Mask
from samlet.inference.showing import MaskRecord, Showing, mask_record


@dataclass(frozen=True, repr=False)
class Prediction(Showing):
    """Answers to P prompts on one image, M masks each.

    Unpacked, it is the three arrays of segment-anything's predictor, `masks, scores, logits = answer`: masks, predicted
    IoU and low-res logits, without their first axis where there is one prompt: (M, H, W), (M,) and (M, h, w).

    Attributes:
        masks: (P, M, H, W) bool on the original image.
        iou: (P, M) predicted IoU.
        stability: (P, M) stability score: IoU of the masks at logits above 1 and above -1.
        low_res: (P, M, h, w) logits, usable as `masks` of a next call.
        image: (H, W, 3) RGB, what was asked about; None where only its embedding is known.
        asked: points (P, K, 2), their labels (P, K), negative where there is none, and boxes (P, 4), pixels of the
            image; None for what was not given.
    """

    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    low_res: NDArray[np.float32]
    image: RGBImage | None = None
    asked: tuple[Any, Any, Any] = (None, None, None)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for array in (self.masks, self.iou, self.low_res):
            yield array[0] if len(array) == 1 else array

    def __repr__(self) -> str:
        prompts, masks, height, width = self.masks.shape
        iou = ", ".join(f"{value:.3f}" for value in self.iou.ravel()[:6]) + (", …" if self.iou.size > 6 else "")
        return f"Prediction: {prompts} prompts, {masks} masks each, {width} x {height} pixels; predicted IoU {iou}"

    def records(self) -> list[MaskRecord]:
        """One dictionary for every mask, prompt by prompt."""
        points, labels, _ = self.asked
        found = []
        for p, prompt in enumerate(self.masks):
            clicks = [] if points is None else points[p][labels[p] >= 0]
            found += [mask_record(mask, self.iou[p, m], self.stability[p, m], clicks) for m, mask in enumerate(prompt)]
        return found

    def _masks(self) -> list[Mask]:
        return [mask for prompt in self.masks for mask in prompt]

    def _height_and_width(self) -> tuple[int, int]:
        return self.masks.shape[2], self.masks.shape[3]

    def _prompts(self) -> tuple[Any, Any, Any]:
        points, labels, boxes = self.asked
        if points is None:
            return None, None, boxes
        given = labels >= 0
        return points[given], labels[given], boxes

    def plot(self, image: RGBImage | None = None, numbers: bool = False) -> Image.Image:
        """As `Showing.plot`; of several masks of a prompt the best by predicted IoU is shown."""
        return Showing.plot(self if self.masks.shape[1] == 1 else self.best(), image, numbers)

    def best(self) -> Prediction:
        """The mask of highest predicted IoU of each prompt, M = 1."""
        pick = self.iou.argmax(axis=1)[:, None]
        far = pick[..., None, None]
        return Prediction(
            np.take_along_axis(self.masks, far, 1),
            np.take_along_axis(self.iou, pick, 1),
            np.take_along_axis(self.stability, pick, 1),
            np.take_along_axis(self.low_res, far, 1),
            self.image,
            self.asked,
        )
