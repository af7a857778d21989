"""Hard prompt sampling (TinySAM, AAAI 2025, eqs. 8 and 9): prompts where the student is wrong.

A first prompt is a point in the mask or its box. Then, round after round, the student answers, and a click is drawn
from where the answer differs from the truth.

Shape legend: P prompts, K clicks of a prompt, h, w low-res cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.distillation.config import ClicksName
from samlet.distillation.examples import Example
from samlet.models.prompt_encoder import PADDING

FOREGROUND, BACKGROUND = 1, 0


@dataclass(frozen=True)
class Prompts:
    """Prompts of one kind, in pixels of the encoder's input.

    Attributes:
        numbers: (P,) of their masks in the example.
        points: (P, K, 2); None where there is no click yet.
        labels: (P, K) foreground, background, or padding, which counts for nothing.
        boxes: (P, 4); None for prompts that began with a point.
    """

    numbers: NDArray[np.intp]
    points: NDArray[np.float32] | None
    labels: NDArray[np.int64] | None
    boxes: NDArray[np.float32] | None

    def tensors(self, device: torch.device, scale: float = 1.0) -> dict[str, Tensor | None]:
        """Arguments of `Sam.decode`, coordinates times `scale`."""

        def moved(values: NDArray | None, factor: float) -> Tensor | None:
            return None if values is None else torch.from_numpy(values).to(device) * factor

        return {
            "points": moved(self.points, scale),
            "labels": None if self.labels is None else torch.from_numpy(self.labels).to(device),
            "boxes": moved(self.boxes, scale),
        }

    def with_clicks(self, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Prompts:
        """One more click each: points (P, 2), labels (P,)."""
        if self.points is None or self.labels is None:
            return replace(self, points=points[:, None], labels=labels[:, None])
        return replace(
            self,
            points=np.concatenate([self.points, points[:, None]], axis=1),
            labels=np.concatenate([self.labels, labels[:, None]], axis=1),
        )


Answer = Callable[[Prompts], NDArray[np.bool_]]
"""What the student answers to prompts: (P, h, w)."""


def hard_prompts(
    example: Example,
    answer: Answer,
    rounds: int,
    boxes: float,
    box_noise: float,
    clicks: ClicksName,
    rng: np.random.Generator,
) -> list[Prompts]:
    """Prompts for all masks of an example: those that began with a point, and those that began with a box.

    Args:
        example: P masks.
        answer: what the student answers.
        rounds: of clicks after the first prompt; 0 for easy prompts.
        boxes: share of the prompts that begin with a box.
        box_noise: deviation of a box's corners, as a share of its sides.
        clicks: see `config.CLICKS`.
        rng: decides.
    """
    by_box = rng.random(len(example.masks)) < boxes
    groups = [first_points(example, np.flatnonzero(~by_box), rng)]
    groups.append(first_boxes(example, np.flatnonzero(by_box), box_noise, rng))
    return [harder(example, group, answer, rounds, clicks, rng) for group in groups if len(group.numbers)]


def first_points(example: Example, numbers: NDArray[np.intp], rng: np.random.Generator) -> Prompts:
    """A random point in each mask; the annotated one where the mask is smaller than a cell."""
    points = example.points[numbers].copy()
    for i, number in enumerate(numbers):
        inside = np.flatnonzero(example.masks[number])
        if len(inside):
            points[i] = _place(example, int(rng.choice(inside)))
    return Prompts(numbers, points[:, None], np.full((len(numbers), 1), FOREGROUND, np.int64), None)


def first_boxes(example: Example, numbers: NDArray[np.intp], noise: float, rng: np.random.Generator) -> Prompts:
    """The box of each mask, its corners moved a little; it stays in the photograph and at least a pixel large."""
    boxes = example.boxes[numbers].astype(np.float64)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.normal(0, 1, boxes.shape).clip(-2, 2) * noise * sides
    limit = np.array(example.extent, np.float64)
    low = moved[:, :2].clip(0, np.maximum(limit - 1, 0))
    high = np.maximum(moved[:, 2:], low + 1).clip(0, limit)
    return Prompts(numbers, None, None, np.concatenate([low, high], axis=1).astype(np.float32))


def harder(
    example: Example, prompts: Prompts, answer: Answer, rounds: int, clicks: ClicksName, rng: np.random.Generator
) -> Prompts:
    """So many rounds of clicks in the student's errors."""
    for _ in range(rounds):
        answered = answer(prompts)
        points = np.zeros((len(prompts.numbers), 2), np.float32)
        labels = np.full(len(prompts.numbers), PADDING, np.int64)
        for i, number in enumerate(prompts.numbers):
            truth = example.masks[number]
            wrong = truth & ~answered[i] if clicks == "replace" else truth ^ answered[i]
            cells = np.flatnonzero(wrong)
            if len(cells):
                cell = int(rng.choice(cells))
                points[i], labels[i] = _place(example, cell), FOREGROUND if truth.flat[cell] else BACKGROUND
        if clicks == "accumulate" or prompts.points is None or prompts.labels is None:
            prompts = prompts.with_clicks(points, labels)
        else:  # what the student got right keeps its click
            wrong_ones = labels != PADDING
            kept = np.where(wrong_ones[:, None], points, prompts.points[:, 0])
            kept_labels = np.where(wrong_ones, labels, prompts.labels[:, 0])
            prompts = replace(prompts, points=kept[:, None], labels=kept_labels[:, None])
    return prompts


def _place(example: Example, cell: int) -> tuple[float, float]:
    row, column = divmod(cell, example.masks.shape[2])
    return float(example.xs[column]), float(example.ys[row])
