"""How a model is asked and judged; the name of the protocol is printed with every figure.

- `sa1b-point`: the annotated point of each true mask, or its innermost one (SlimSAM's protocol, "Experiments").
- `box`: the tight box of each true mask.
- `point-K`: K clicks, each next one in the middle of the largest error (Kirillov et al., "Segment Anything", app. D;
  TinySAM, "Interactive segmentation"). The mask between two clicks is the best predicted one.
- `everything`: all masks of the image; of each true mask the best IoU with any of them, and recall at fixed counts.
- `box-detector`: see `samlet.evaluation.detector`.

The single-mask output, the best predicted mask and the oracle of three are always apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samlet.data.masks import Region, encode_rle
from samlet.errors import InputError
from samlet.evaluation.clicks import next_click
from samlet.evaluation.ground_truth import RULES, GroundTruth, Rule
from samlet.inference.segmenter import Answers, Segmenter
from samlet.registry import Registry

Kind = Literal["point", "box", "clicks", "everything", "box-detector", "registered"]
COUNTS = (10, 100, 1000)
"""Masks of highest score that recall in everything mode is measured with."""
_PROMPTS = 16  # answered before their masks are judged: bounds memory where an image has hundreds of masks
_MOST_CLICKS = 20

Values = dict[str, list[float]]
"""IoU of every true mask, by rule; for `everything` also by `best@COUNT`."""


@dataclass(frozen=True)
class Protocol:
    """A protocol by name.

    Attributes:
        name: as printed.
        kind: what is asked.
        clicks: number of clicks.
    """

    name: str
    kind: Kind
    clicks: int = 1

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that it judges by."""
        return ("best",) if self.kind == "everything" else RULES

    def describe(self, reference: bool) -> str:
        """What is asked, in words."""
        if self.kind == "everything":
            return "everything mode, best IoU of each true mask"
        if self.kind == "clicks":
            return f"{self.clicks} clicks, each next one in the middle of the largest error"
        if self.kind == "registered":
            return _SENTENCES[self.name]
        if self.kind == "box-detector":
            return "a detector's boxes"
        if reference:
            return "boxes of the reference's masks" if self.kind == "box" else "4x4 grid points"
        return "tight box" if self.kind == "box" else "annotated or innermost point"


_SENTENCES: dict[str, str] = {}

protocols: Registry = Registry("protocol", _SENTENCES)
"""Protocols from outside: (segmenter, truth, rules, options of everything mode) to `Values`, see `score`."""


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; `point` is short for `sa1b-point`.

    Raises:
        InputError: there is none.
    """
    if name in ("point", "sa1b-point"):
        return Protocol("sa1b-point", "point")
    if name == "box":
        return Protocol(name, "box")
    if name == "everything":
        return Protocol(name, "everything")
    if name == "box-detector":
        return Protocol(name, "box-detector")
    if name in protocols:
        return Protocol(name, "registered")
    found = re.fullmatch(r"point-(\d{1,3})", name)
    if found and 1 <= int(found.group(1)) <= _MOST_CLICKS:
        return Protocol(name, "clicks", int(found.group(1)))
    raise InputError(
        f"protocol {name!r} is unknown; expected sa1b-point, box, point-K with K from 1 to {_MOST_CLICKS}, everything "
        f"or box-detector{''.join(f', {known}' for known in protocols)}"
    )


def score(
    protocol: Protocol, segmenter: Segmenter, truth: GroundTruth, rules: Sequence[Rule], options: dict[str, Any]
) -> Values:
    """IoU of every true mask of the image that the segmenter has been given.

    Args:
        protocol: what to ask.
        segmenter: the model.
        truth: the true masks.
        rules: of those of the protocol, which to score by.
        options: of everything mode.
    """
    if protocol.kind == "everything":
        return _everything(segmenter, truth, options)
    if protocol.kind == "registered":
        return {rule: list(found) for rule, found in protocols[protocol.name](segmenter, truth, rules, options).items()}
    values: Values = {rule: [] for rule in protocol.rules if rule in rules}
    for start in range(0, len(truth.points), _PROMPTS):
        part = slice(start, start + _PROMPTS)
        regions = {rule: truth.regions[rule][part] for rule in values}  # type: ignore[index]
        if protocol.kind == "box":
            answers = segmenter.answer(boxes=truth.boxes[part])
        else:
            answers = _clicked(segmenter, truth, part, protocol.clicks)
        for rule, found in overlaps(answers, regions).items():
            values[rule] += found
    return values


def _clicked(segmenter: Segmenter, truth: GroundTruth, part: slice, clicks: int) -> Answers:
    """Answers to the last of several clicks."""
    points = truth.points[part][:, None]
    labels = np.ones(points.shape[:2], np.int64)
    answers = segmenter.answer(points=points, labels=labels)
    for _ in range(clicks - 1):
        new = [
            next_click(region, answers.draw(p, [answers.best(p)])[0])
            for p, region in enumerate(truth.regions["best"][part])
        ]
        points = np.concatenate([points, np.array([[click[:2]] for click in new], np.float32)], axis=1)
        labels = np.concatenate([labels, np.array([[click[2]] for click in new], np.int64)], axis=1)
        answers = segmenter.answer(points=points, labels=labels)
    return answers


def overlaps(answers: Answers, regions: dict[Any, list[Region]]) -> Values:
    """IoU of answers to P prompts with P true masks, by rule.

    Args:
        answers: to the prompts.
        regions: the true masks, by the rule that they are compared under.
    """
    values: Values = {rule: [] for rule in regions}
    for p in range(len(answers.scores)):
        best = answers.best(p)
        outputs = {
            "single": [int(answers.singles[p])],
            "best": [best],
            "oracle": list(answers.multi),
        }
        needed = sorted({output for rule in regions for output in outputs[rule]})
        masks = dict(zip(needed, answers.draw(p, needed), strict=True))
        for rule, truths in regions.items():
            values[rule].append(max(truths[p].iou(masks[output]) for output in outputs[rule]))
    return values


def _everything(segmenter: Segmenter, truth: GroundTruth, options: dict[str, Any]) -> Values:
    masks = segmenter.everything(**options)
    height, width = masks.size
    codes = [m["segmentation"] for m in sorted(masks, key=lambda m: -m["predicted_iou"])]
    true = [encode_rle(_whole(region, height, width)) for region in truth.regions["best"]]
    overlap = np.asarray(coco_mask.iou(codes, true, [0] * len(true))) if codes else np.zeros((1, len(true)))
    values = {"best": overlap.max(axis=0)}
    values |= {f"best@{count}": overlap[:count].max(axis=0) for count in COUNTS}
    return {rule: [float(v) for v in found] for rule, found in values.items()}


def _whole(region: Region, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[region.top : region.top + region.mask.shape[0], region.left : region.left + region.mask.shape[1]] = region.mask
    return mask
