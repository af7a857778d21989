"""How a student does on photographs held out, measured while it trains."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import torch
from torch import Tensor

from samlet.distillation.config import WEIGHTS, DistillConfig
from samlet.distillation.examples import Example, Examples
from samlet.distillation.objective import Batch, FullStage
from samlet.models import DecoderOutput, Sam, single_masks
from samlet.runs.distributed import DistributedContext
from samlet.training.mask_losses import mask_iou

PROMPTS = 8
"""Masks of each photograph that are asked for."""


class Validation:
    """Terms of the loss with easy prompts, and mean IoU of the single mask with the true one, on photographs held out.

    Args:
        student: the model that trains.
        teacher: frozen.
        config: weights of the terms.
        sizes: side of the student's and of the teacher's input, pixels.
        examples: the photographs, `PROMPTS` masks each.
        engine: whose processes share them.
    """

    def __init__(
        self,
        student: Sam,
        teacher: Sam,
        config: DistillConfig,
        sizes: tuple[int, int],
        examples: Examples,
        engine: DistributedContext,
    ) -> None:
        easy = dataclasses.replace(config, rounds=0, box_noise=0.0)
        self._objective = FullStage(student, teacher, easy, sizes)
        self._student, self._source, self._engine = student, examples, engine
        self._examples: list[Example] | None = None

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """The terms; `error`: their weighted sum; `point` and `box`: mean IoU of low-resolution masks."""
        if self._examples is None:
            world, rank = self._engine.world, self._engine.rank
            mine = (example for number, example in enumerate(self._source.each()) if number % world == rank)
            self._examples = [self._with_target(example) for example in mine]
        sums: dict[str, float] = defaultdict(float)
        for example in self._examples:
            for name, value in self._measured(example).items():
                sums[name] += value
        names = self._engine.from_main(sorted(sums))  # a process without a photograph has measured nothing
        totals = torch.tensor([*(sums[name] for name in names), len(self._examples)], dtype=torch.float64)
        *values, count = self._engine.sum(totals).tolist()
        return {name: value / count for name, value in zip(names, values, strict=True)}

    def _with_target(self, example: Example) -> Example:
        """The teacher's embedding, if it is asked for, is computed once."""
        if not self._objective.config.asks_teacher:
            return dataclasses.replace(example, teacher_image=None)
        with self._engine.compute():
            target = self._objective.teacher_embedding(example, self._engine.device)[0].float().cpu()
        return dataclasses.replace(example, target=target, teacher_image=None)

    def _measured(self, example: Example) -> dict[str, float]:
        device = self._engine.device
        with self._engine.compute():
            encoded = self._student.encode(example.image[None].to(device))
            loss, found = self._objective.compare(encoded, Batch([example]))
        terms = {name: term for name, term in found.items() if name in WEIGHTS}
        embedding = encoded.float()
        truth = torch.from_numpy(example.masks).to(device)
        points = torch.from_numpy(example.points)[:, None].to(device)
        clicked = self._student.decode(embedding, points, torch.ones_like(points[..., 0], dtype=torch.long))
        boxed = self._student.decode(embedding, boxes=torch.from_numpy(example.boxes).to(device))
        overlap = {"point": self._iou(clicked, truth), "box": self._iou(boxed, truth)}
        return {name: float(value) for name, value in {"error": loss, **terms, **overlap}.items()}

    def _iou(self, out: DecoderOutput, truth: Tensor) -> Tensor:
        logits, _ = single_masks(self._student, out.low_res, out.iou)
        masks = logits[:, : truth.shape[1], : truth.shape[2]] > self._student.config.mask_threshold
        return mask_iou(masks, truth).mean()
