"""What everything mode drops, and which threshold to lower where next to nothing is left."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samlet.inference.everything.options import EverythingOptions

_FEW = 0.01  # masks a prompt, below which most were dropped
_RARE = 0.02  # outputs of the predicted IoU that is asked for, below which that is the reason
_WANTED = 0.9  # quantile of what was seen, that a threshold is proposed at


class Dropped:
    """Counts outputs and what became of them.

    Attributes:
        least_iou: the threshold of the predicted IoU that is in use.
    """

    def __init__(self) -> None:
        self.least_iou = 0.0
        self._ious: list[Tensor] = []
        self._stabilities: list[float] = []

    def outputs(self, iou: Tensor) -> None:
        """Predicted IoU (P, M) of the outputs of some prompts."""
        self._ious.append(iou.detach().float().cpu().flatten())

    def mask(self, stability: float) -> None:
        """Stability of a mask that has the predicted IoU that is asked for, and is no duplicate."""
        self._stabilities.append(stability)

    def hint(self, options: EverythingOptions, masks: int, prompts: int, sizes: tuple[int, int]) -> str:
        """Which threshold to lower, for somebody who found no mask, or next to none; '' where there are enough.

        Args:
            options: that are in use.
            masks: that stayed.
            prompts: that were asked.
            sizes: side of the encoder's input, pixels, as it is and as it is by default.
        """
        if (masks and masks >= _FEW * prompts) or not self._ious:
            return ""
        larger = f", or use the model's own image size, {sizes[1]} px, in place of {sizes[0]}"
        larger = larger if sizes[0] < sizes[1] else ""
        ious = torch.cat(self._ious)
        good = int((ious > self.least_iou).sum())
        if good < _RARE * len(ious):
            lower = max(0, math.ceil(100 * min(float(ious.quantile(_WANTED)), self.least_iou - 0.01)) - 1) / 100
            return (
                f"{good} of {len(ious)} answers have a predicted IoU over {self.least_iou:g}, and the best has "
                f"{float(ious.max()):.2f}; lower --pred-iou-thresh (pred_iou_thresh), such as to {lower:.2f}"
                f"{larger}"
            )
        least = options.stability_score_thresh
        stable = sum(stability >= least for stability in self._stabilities)
        if stable <= masks:
            best = f", and the best has {max(self._stabilities):.2f}" if self._stabilities else ""
            return (
                f"{good} answers have the predicted IoU that is asked for, but {stable} different ones are as "
                f"stable as {least:g}{best}; lower --stability-score-thresh (stability_score_thresh), such as to "
                f"{max(least - 0.1, 0):.2f}{larger}"
            )
        if options.max_mask_region_area:
            return (
                f"{stable - masks} masks are larger than {options.max_mask_region_area} pixels, cut off by a crop, or "
                "alike; raise --max-mask-region-area (max_mask_region_area)"
            )
        return ""
