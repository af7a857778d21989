"""Everything mode as the published generators compute it, written plainly: what samlet's is measured against.

64 prompts at a time through the whole mask decoder, every mask upscaled to the full image before anything is judged,
boxes, stability and run-length code at full size, then non-maximum suppression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import samlet
from samlet.data.images import RGBImage
from samlet.data.masks import bounding_box, encode_rle
from samlet.data.transforms import preprocess
from samlet.inference.everything.grids import point_grid
from samlet.inference.everything.suppression import suppress

_BATCH = 64


class PlainGenerator:
    """All masks of an image from a grid, or hierarchically with TinySAM's rule."""

    def __init__(
        self,
        sam: samlet.Sam,
        image_size: int | None = None,
        points_per_side: int = 32,
        *,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        high_threshold: float = 8.5,
    ) -> None:
        self.sam, self.image_size = sam.eval(), sam.check_image_size(image_size)
        self.points_per_side = points_per_side
        self.least_iou, self.least_stability, self.high_threshold = (
            pred_iou_thresh,
            stability_score_thresh,
            high_threshold,
        )

    @torch.inference_mode()
    def __call__(self, image: RGBImage, hierarchical: bool = False) -> tuple[list[dict[str, Any]], int]:
        """Masks and the number of prompts."""
        height, width = image.shape[:2]
        inputs, self.frame = preprocess(image, self.image_size, *self.sam.preprocessing)
        self.embedding = self.sam.encode(inputs[None])
        self.settled = np.zeros((height, width), bool)
        size = [width, height]
        if hierarchical:
            sparse = point_grid(self.points_per_side // 4) * size
            records = self._ask(sparse)
            rest = np.array(self._unsettled(sparse, height, width)).reshape(-1, 2)
            records += self._ask(rest)
            prompts = len(sparse) + len(rest)
        else:
            dense = point_grid(self.points_per_side) * size
            records, prompts = self._ask(dense), len(dense)
        kept = suppress([r["box"] for r in records], [r["predicted_iou"] for r in records], 0.7)
        return [records[i] for i in kept], prompts

    def _unsettled(self, sparse: np.ndarray, height: int, width: int) -> list[tuple[float, float]]:
        """Of the 4x4 block of the full density that each sparse point lies in, those that no mask is sure about."""
        step_x, step_y = width // self.points_per_side, height // self.points_per_side
        rest = []
        for x, y in sparse:
            for row in (-1, 0, 1, 2):
                for column in (-1, 0, 1, 2):
                    there = x + column * step_x, y + row * step_y
                    own = row == column == 0
                    if own or there[0] >= width or there[1] >= height or self.settled[int(there[1]), int(there[0])]:
                        continue
                    rest.append(there)
        return rest

    def _ask(self, points: np.ndarray) -> list[dict[str, Any]]:
        inputs = self.frame.to_input(torch.from_numpy(points).float())
        return [
            record
            for start in range(0, len(points), _BATCH)
            for record in self._batch(inputs[start : start + _BATCH, None], points[start : start + _BATCH])
        ]

    def _batch(self, inputs: Tensor, points: np.ndarray) -> list[dict[str, Any]]:
        labels = torch.ones(inputs.shape[:2], dtype=torch.long)
        answer = self.sam.decode(self.embedding, points=inputs, labels=labels)
        logits = self.frame.upscale(answer.low_res[:, 1:]).flatten(0, 1)
        iou = answer.iou[:, 1:].flatten()
        owner = np.repeat(np.arange(len(points)), answer.iou.shape[1] - 1)
        keep = iou > self.least_iou
        logits, iou, owner = logits[keep], iou[keep], owner[keep.numpy()]
        stability = (logits > 1).flatten(1).sum(1) / (logits > -1).flatten(1).sum(1)
        keep = stability >= self.least_stability
        logits, iou, stability, owner = logits[keep], iou[keep], stability[keep], owner[keep.numpy()]
        if len(logits):
            self.settled |= (logits > self.high_threshold).any(0).numpy()
        records = []
        for i, mask in enumerate((logits > 0).numpy()):
            x, y, width, height = bounding_box(mask)
            records.append(
                {
                    "segmentation": encode_rle(mask),
                    "box": (x, y, x + width - 1, y + height - 1),
                    "predicted_iou": float(iou[i]),
                    "stability_score": float(stability[i]),
                    "point_coords": [points[owner[i]].tolist()],
                }
            )
        return records
