"""What a model and its export are both asked: points and boxes on real photographs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from samlet.data.bundled import bundled_photographs
from samlet.data.images import RGBImage, find_images, read_image
from samlet.errors import InputError
from samlet.inference.predictor import Predictor
from samlet.models import PromptableModel

_FIRST = ("astronaut.jpg", "bee.jpg", "cat.jpg", "coffee.jpg")  # of the bundled photographs
_SIDE = 4  # points on a side of the grid


@dataclass(frozen=True)
class Photograph:
    """A photograph and its name: the path inside of its folder."""

    name: str
    image: RGBImage


@dataclass(frozen=True)
class Probe:
    """A photograph with points (P, 2) and boxes (Q, 4), pixels, and its name."""

    image: RGBImage
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class WorstPrompt:
    """The prompt whose masks agree least.

    Attributes:
        photograph: its name.
        kind: `point` or `box`.
        prompt: x, y of the point, or x0, y0, x1, y1 of the box, pixels of the photograph.
        output: `single` for the single-mask output, `best of several` for the best multimask output.
        iou: of the two masks.
    """

    photograph: str
    kind: Literal["point", "box"]
    prompt: tuple[float, ...]
    output: Literal["single", "best of several"]
    iou: float

    def __str__(self) -> str:
        values = ",".join(f"{value:g}" for value in self.prompt)
        return f"{self.kind} {values} on {self.photograph or 'a photograph'}, {self.output} mask"


@dataclass(frozen=True)
class Answer:
    """Masks (P + Q, M, height, width) of a question's points and boxes, and their predicted IoU (P + Q, M)."""

    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]


def photographs(folder: Path | None, count: int, seed: int) -> list[Photograph]:
    """Some photographs of a folder, or those that samlet brings along.

    Raises:
        InputError: there is none that can be read.
    """
    if folder is None:
        own = sorted(bundled_photographs(), key=lambda path: (path.name not in _FIRST, path.name))
        return [Photograph(path.name, read_image(path)) for path in own[:count]]
    paths = find_images(folder)
    random.Random(seed).shuffle(paths)
    found: list[Photograph] = []
    for path in paths:
        try:
            found.append(Photograph(path.relative_to(folder).as_posix(), read_image(path)))
        except InputError:
            continue
        if len(found) == count:
            break
    if not found:
        raise InputError(f"{folder} has no photograph that can be read; expected at least one")
    return found


def probes(model: PromptableModel, images: Sequence[Photograph], image_size: int | None) -> list[Probe]:
    """A grid of points on each photograph, and the boxes of the model's own answers to them."""
    return [_question(Predictor(model, image_size), image) for image in images]


def _question(predictor: Predictor, photograph: Photograph) -> Probe:
    image = photograph.image
    height, width = image.shape[:2]
    middles = (np.arange(_SIDE) + 0.5) / _SIDE
    points = np.stack(np.meshgrid(middles * width, middles * height), -1).reshape(-1, 2).astype(np.float32)
    predictor.set_image(image)
    masks = predictor.predict(points[:, None], multimask=True).best().masks[:, 0]
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) > 1 and len(columns) > 1:
            boxes.append([columns[0], rows[0], columns[-1], rows[-1]])
    return Probe(image, points, np.array(boxes, np.float32).reshape(-1, 4), photograph.name)


def answers(model: PromptableModel, asked: Sequence[Probe], image_size: int | None) -> list[Answer]:
    """All outputs of a model to all probes."""
    predictor, found = Predictor(model, image_size), []
    for question in asked:
        predictor.set_image(question.image)
        parts = []
        for multimask in (False, True):
            parts.append([predictor.predict(question.points[:, None], multimask=multimask)])
            if len(question.boxes):
                parts[-1].append(predictor.predict(boxes=question.boxes, multimask=multimask))
        masks = np.concatenate([np.concatenate([p.masks for p in part]) for part in parts], axis=1)
        iou = np.concatenate([np.concatenate([p.iou for p in part]) for part in parts], axis=1)
        found.append(Answer(masks, iou))
    return found


def agreement(first: Sequence[Answer], second: Sequence[Answer]) -> NDArray[np.float64]:
    """IoU of the single mask, and of the multimask output of highest predicted IoU by the first model, of each prompt.

    Returns:
        (prompts, 2); two empty masks agree wholly.
    """
    rows = []
    for a, b in zip(first, second, strict=True):
        best = 1 + a.iou[:, 1:].argmax(1) if a.iou.shape[1] > 1 else np.zeros(len(a.iou), int)
        for prompt, output in enumerate(best):
            pair = [torch.from_numpy(x.masks[prompt, [0, output]]) for x in (a, b)]
            union = (pair[0] | pair[1]).sum((-2, -1))
            both = (pair[0] & pair[1]).sum((-2, -1))
            rows.append([float(i / u) if u else 1.0 for i, u in zip(both, union, strict=True)])
    return np.array(rows)


def worst_prompt(asked: Sequence[Probe], iou: NDArray[np.float64]) -> WorstPrompt:
    """The prompt of least IoU.

    Args:
        asked: photographs with prompts.
        iou: (prompts, 2) as of `agreement`, or (prompts, 1) of the best multimask output alone: of each photograph its
            points, then its boxes.
    """
    prompts: list[tuple[str, Literal["point", "box"], NDArray[np.float32]]] = []
    for question in asked:
        prompts += [(question.name, "point", point) for point in question.points]
        prompts += [(question.name, "box", box) for box in question.boxes]
    row, column = np.unravel_index(int(iou.argmin()), iou.shape)
    photograph, kind, place = prompts[int(row)]
    return WorstPrompt(
        photograph=photograph,
        kind=kind,
        prompt=tuple(round(float(value), 2) for value in place),
        output="single" if column < iou.shape[1] - 1 else "best of several",
        iou=float(iou[row, column]),
    )
