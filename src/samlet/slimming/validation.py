"""How close a student is to its teacher on photographs held out, measured while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from samlet.data.transforms import Frame
from samlet.models import Embedding, ImageEncoder, Sam, single_masks
from samlet.runs.distributed import DistributedContext
from samlet.slimming.losses import embedding_error
from samlet.training.batches import ImageDataset
from samlet.training.mask_losses import mask_iou

_SIDE = 4


@dataclass(frozen=True)
class _Expected:
    image: Tensor
    embedding: Embedding
    points: Tensor
    masks: Tensor


class Validation:
    """Embedding error and agreement on photographs held out.

    What the teacher answers is computed once; a student encodes each photograph once a validation, however many masks
    are compared.

    Args:
        teacher: the model to agree with.
        paths: photographs held out.
        photographs: prepares them.
        engine: whose processes share them.
    """

    def __init__(
        self, teacher: Sam, paths: Sequence[Path], photographs: ImageDataset, engine: DistributedContext
    ) -> None:
        self._teacher, self._paths, self._photographs, self._engine = teacher, paths, photographs, engine
        self._expected: list[_Expected] | None = None

    @torch.no_grad()
    def __call__(self, student: ImageEncoder) -> dict[str, float]:
        """`error`: of the final embedding, relative to its variance; `agreement`: mean IoU of low-resolution masks."""
        if self._expected is None:
            self._expected = list(self._ask_teacher())
        totals = torch.zeros(4, dtype=torch.float64)
        for expected in self._expected:
            with self._engine.compute():
                embedding = student(expected.image.to(self._engine.device)).float()
            masks = self._masks(embedding, expected.points)
            iou = mask_iou(masks, expected.masks)
            error = float(embedding_error(embedding, expected.embedding))
            totals += torch.tensor([error, 1.0, float(iou.sum()), float(len(iou))], dtype=torch.float64)
        errors, images, overlaps, prompts = self._engine.sum(totals).tolist()
        return {"error": errors / images, "agreement": overlaps / prompts}

    def _ask_teacher(self):  # type: ignore[no-untyped-def]
        for number, path in enumerate(self._paths):
            image = self._photographs.read(path) if number % self._engine.world == self._engine.rank else None
            if image is None:
                continue
            pixels = self._photographs.prepare(image)[None]
            size = self._photographs.image_size
            height, width = Frame(image.shape[0], image.shape[1], size, self._photographs.resize).resized
            y, x = torch.meshgrid(torch.arange(_SIDE) + 0.5, torch.arange(_SIDE) + 0.5, indexing="ij")
            points = torch.stack([x * width / _SIDE, y * height / _SIDE], dim=-1).view(-1, 1, 2).to(self._engine.device)
            with self._engine.compute():
                embedding = self._teacher.encode(pixels.to(self._engine.device)).float()
            yield _Expected(pixels, embedding, points, self._masks(embedding, points))

    def _masks(self, embedding: Embedding, points: Tensor) -> Tensor:
        labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
        out = self._teacher.decode(embedding, points, labels)
        return single_masks(self._teacher, out.low_res, out.iou)[0] > self._teacher.config.mask_threshold
