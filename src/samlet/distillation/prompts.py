"""Hard prompt sampling (TinySAM, AAAI 2025, eqs. 8 and 9): prompts where the student is wrong.

A first prompt is a point in the mask or its box. Then, round after round, the student answers, and a click is drawn
from where the answer differs from the truth. How many rounds a prompt goes through is drawn for each prompt, uniformly
from 0 to a largest number, 9 in the paper. So every number counts alike, as in SAM, which takes the loss of all rounds
(Segment Anything, appendix A).

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
from samlet.models.decoders.sam.prompt_encoder import PADDING

FOREGROUND, BACKGROUND = 1, 0


@dataclass(frozen=True)
class HardPrompts:
    """Prompts of one kind for masks of an example, in pixels of the encoder's input.

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

    def some(self, chosen: NDArray[np.intp]) -> HardPrompts:
        """Some of the prompts, by position."""
        return HardPrompts(
            self.numbers[chosen],
            None if self.points is None else self.points[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.boxes is None else self.boxes[chosen],
        )

    def with_clicks(
        self, active: NDArray[np.intp], points: NDArray[np.float32], labels: NDArray[np.int64], clicks: ClicksName
    ) -> HardPrompts:
        """New clicks for some prompts: one more each, or in place of the one there is where they count.

        Args:
            active: (A,) which prompts, by position.
            points: (A, 2).
            labels: (A,).
            clicks: see `config.CLICKS`.
        """
        all_points = np.zeros((len(self.numbers), 1, 2), np.float32)
        all_labels = np.full((len(self.numbers), 1), PADDING, np.int64)
        all_points[active, 0], all_labels[active, 0] = points, labels
        if self.points is None or self.labels is None:
            return replace(self, points=all_points, labels=all_labels)
        if clicks == "accumulate":
            all_points = np.concatenate([self.points, all_points], axis=1)
            all_labels = np.concatenate([self.labels, all_labels], axis=1)
        else:
            new = all_labels != PADDING
            all_points = np.where(new[..., None], all_points, self.points)
            all_labels = np.where(new, all_labels, self.labels)
        return replace(self, points=all_points, labels=all_labels)


Answer = Callable[[HardPrompts], NDArray[np.bool_]]
"""What the student answers to prompts: (P, h, w)."""


def hard_prompts(
    example: Example,
    answer: Answer,
    rounds: NDArray[np.intp],
    boxes: float,
    box_noise: float,
    clicks: ClicksName,
    rng: np.random.Generator,
) -> list[HardPrompts]:
    """Prompts for all masks of an example: those that began with a point, and those that began with a box.

    Args:
        example: P masks.
        answer: what the student answers.
        rounds: (P,) rounds of clicks after the first prompt, see `draw_rounds`; 0 for easy prompts.
        boxes: share of the prompts that begin with a box.
        box_noise: deviation of a box's corners, as a share of its sides.
        clicks: see `config.CLICKS`.
        rng: decides.
    """
    by_box = rng.random(len(example.masks)) < boxes
    groups = [first_points(example, np.flatnonzero(~by_box), rng)]
    groups.append(first_boxes(example, np.flatnonzero(by_box), box_noise, rng))
    return [
        harder(example, group, answer, rounds[group.numbers], clicks, rng) for group in groups if len(group.numbers)
    ]


def draw_rounds(most: int, prompts: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(prompts,) rounds of each prompt, drawn once: 0 to `most`, each number as likely as the others."""
    return rng.integers(0, most + 1, prompts)


def first_points(example: Example, numbers: NDArray[np.intp], rng: np.random.Generator) -> HardPrompts:
    """A random point in each mask; the annotated one where the mask is smaller than a cell."""
    points = example.points[numbers].copy()
    for i, number in enumerate(numbers):
        inside = np.flatnonzero(example.masks[number])
        if len(inside):
            points[i] = _place(example, int(rng.choice(inside)))
    return HardPrompts(numbers, points[:, None], np.full((len(numbers), 1), FOREGROUND, np.int64), None)


def first_boxes(example: Example, numbers: NDArray[np.intp], noise: float, rng: np.random.Generator) -> HardPrompts:
    """The box of each mask, its corners moved a little; it stays in the photograph and at least a pixel large."""
    boxes = example.boxes[numbers].astype(np.float64)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.normal(0, 1, boxes.shape).clip(-2, 2) * noise * sides
    limit = np.array(example.extent, np.float64)
    low = moved[:, :2].clip(0, np.maximum(limit - 1, 0))
    high = np.maximum(moved[:, 2:], low + 1).clip(0, limit)
    return HardPrompts(numbers, None, None, np.concatenate([low, high], axis=1).astype(np.float32))


def harder(
    example: Example,
    prompts: HardPrompts,
    answer: Answer,
    rounds: NDArray[np.intp],
    clicks: ClicksName,
    rng: np.random.Generator,
) -> HardPrompts:
    """Clicks in the student's errors, round after round; each prompt stops after its own `rounds`, (P,)."""
    for number in range(int(rounds.max(initial=0))):
        active = np.flatnonzero(rounds > number)
        points, labels = _clicks(example, prompts.some(active), answer, clicks, rng)
        prompts = prompts.with_clicks(active, points, labels, clicks)
    return prompts


def _clicks(
    example: Example, prompts: HardPrompts, answer: Answer, clicks: ClicksName, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clicks (P, 2) where the student's answers are wrong, and their labels (P,); padding where one is right."""
    answered = answer(prompts)
    points = np.zeros((len(prompts.numbers), 2), np.float32)
    labels = np.full(len(prompts.numbers), PADDING, np.int64)
    for i, number in enumerate(prompts.numbers):
        truth = example.masks[number]
        cells = np.flatnonzero(truth & ~answered[i] if clicks == "replace" else truth ^ answered[i])
        if len(cells):
            cell = int(rng.choice(cells))
            points[i], labels[i] = _place(example, cell), FOREGROUND if truth.flat[cell] else BACKGROUND
    return points, labels


def _place(example: Example, cell: int) -> tuple[float, float]:
    row, column = divmod(cell, example.masks.shape[2])
    return float(example.xs[column]), float(example.ys[row])
