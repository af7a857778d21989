"""Which masks of label files stay: by area, predicted IoU and stability."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samlet.data.masks import rle_area
from samlet.errors import InputError
from samlet.labels import LabelledImage, LabelledObject

REASONS = ("empty", "area", "predicted_iou", "stability_score")
"""Why a mask is dropped, in the order in which it is asked."""

_SAID = {"predicted_iou": "predicted IoU", "stability_score": "stability"}


@dataclass
class Sieve:
    """Which masks stay.

    Attributes:
        above: predicted IoU that a mask must exceed; None for any.
        least: stability that it must reach; None for any.
        share: of its photograph that it must cover.
        dropped: how many did not stay, by reason.
        unscored: how many stayed without the score that was asked for.
    """

    above: float | None
    least: float | None
    share: float
    dropped: Counter[str] = field(default_factory=Counter)
    unscored: int = 0

    def __post_init__(self) -> None:
        for name, value in (("pred_iou_thresh", self.above), ("stability_score_thresh", self.least)):
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}; expected a number, such as 0.9")
        if not 0 <= self.share < 1:
            raise InputError(f"min_area is {self.share}; expected a share of the image from 0 up to 1, such as 0.0005")

    @property
    def asked(self) -> list[str]:
        """The scores that it looks at."""
        pairs = (("predicted_iou", self.above), ("stability_score", self.least))
        return [name for name, value in pairs if value is not None]

    def kept(self, image: LabelledImage) -> LabelledImage:
        """The image with the masks that stay."""
        objects = tuple(one for one in image.objects if self._stays(one, image.size))
        return replace(image, objects=objects)

    def _stays(self, one: LabelledObject, size: tuple[int, int]) -> bool:
        reason = self._reason(rle_area(one.rle), size[0] * size[1], one.scores)
        if reason:
            self.dropped[reason] += 1
        else:
            self.unscored += any(name not in one.scores for name in self.asked)
        return not reason

    def _reason(self, area: int, pixels: int, scores: Mapping[str, Any]) -> str:
        if not area:
            return "empty"
        if area < self.share * pixels:
            return "area"
        if self.above is not None and not scores.get("predicted_iou", math.inf) > self.above:
            return "predicted_iou"
        if self.least is not None and not scores.get("stability_score", math.inf) >= self.least:
            return "stability_score"
        return ""

    def check(self, found: Sequence[LabelledImage], folder: Path, source: str) -> None:
        """Raise InputError where a score is asked for that no mask of a folder has."""
        for name in self.asked:
            if not any(name in one.scores for image in found for one in image.objects):
                raise InputError(
                    f"no mask in {folder} ({source}) says its {_SAID[name]}, so none can be dropped by it; leave that "
                    "threshold out, or convert the files that samlet wrote first"
                )

    def told(self) -> str:
        """How many were dropped, by reason."""
        reasons = [f"{self.dropped[one]} for {_SAID.get(one, one)}" for one in REASONS if self.dropped[one]]
        return ", ".join(reasons) or "it has none"
