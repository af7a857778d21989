"""Mean IoU for point and box prompts, against true masks or against another model's.

One encode an image; prompts are decoded in batches; the single-mask output, the best predicted and the oracle of three
are always apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from samlet.data.datasets import Dataset
from samlet.data.masks import bounding_box, decode_rle
from samlet.data.transforms import Frame, preprocess
from samlet.errors import InputError
from samlet.inference.predictor import decode
from samlet.inference.prompts import make_prompts
from samlet.models import Sam

Prompt = Literal["point", "box"]
Rule = Literal["single", "best", "oracle"]
RULES: tuple[Rule, ...] = ("single", "best", "oracle")
_RESAMPLES = 2000
_GRID_SIDE = 4

ImageResult = dict[str, list[float]]
"""IoU of every mask of one image, by rule."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Mean IoU of a model on a dataset.

    Attributes:
        protocol: what was done, in words and numbers, exact enough to compare figures.
        images: images that had masks to compare with.
        masks: masks compared.
        miou: mean IoU over masks by rule: `single` the single-mask output, `best` the multimask output of highest
            predicted IoU, `oracle` the best of the three against the truth.
        intervals: 95 % bootstrap interval over images, by rule.
        skipped: images that could not be read, with the reason.
        seconds: of the whole evaluation.
    """

    protocol: str
    images: int
    masks: int
    miou: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    skipped: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class _Truth:
    """Prompts of one image and, by rule, the masks to compare with (P, H, W)."""

    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: dict[str, Tensor]


def evaluate(
    sam: Sam,
    dataset: Dataset,
    prompt: Prompt = "point",
    reference: Sam | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
    rules: Sequence[Rule] = RULES,
) -> Evaluation:
    """Compare a model's masks with true ones, or with a reference model's.

    With annotations, a prompt is the annotated (or an interior) point or the tight box of a true mask. With a
    reference model it is one of 4×4 points spread over the image, or the box of the mask that the reference answers
    with there; `single` is compared with the reference's single mask, the others with its best predicted one. A model
    compared with itself scores 1.

    Args:
        sam: the model.
        dataset: photographs, from `samlet.data.datasets.open_dataset`.
        prompt: `point` or `box`.
        reference: model whose masks count as true; needed for photographs without annotations.
        image_size: side of the encoder's input, pixels; the model's own if None.
        limit: use only the first so many images.
        seed: of the bootstrap.
        progress: show a bar.
        rules: which of `RULES` to measure; fewer are faster.

    Raises:
        InputError: no annotations and no reference, or nothing to compare.
    """
    if not dataset.annotated and reference is None:
        raise InputError(
            f"{dataset.path} has no annotations; name a model to compare with (--reference MODEL), or give an SA-1B "
            "folder or a COCO JSON"
        )
    size = sam.check_image_size(image_size)
    start = time.perf_counter()
    results: list[ImageResult] = []
    skipped: dict[str, str] = {}
    samples = dataset.head(limit)
    for sample in tqdm(samples, total=samples.size, disable=None if progress else True, unit="image"):
        try:
            image = sample.image(upright=not dataset.annotated)
        except InputError as error:
            skipped[str(sample.path)] = str(error)
            continue
        if reference is not None:
            truth = _reference_truth(reference, image, size, prompt)
        else:
            truth = _annotated_truth(sample.annotations, image.shape[:2], str(sample.path))
        if truth is None:
            continue
        embedding, frame = _encode(sam, image, size)
        results.append(_compare(sam, embedding, frame, truth, prompt, rules))
    if not results:
        reasons = f" ({len(skipped)} could not be read)" if skipped else ""
        raise InputError(f"{dataset.path} has no mask to compare with{reasons}; expected annotated photographs")
    truth_name = "reference model" if reference is not None else f"{dataset.kind} annotations"
    source = {
        ("point", True): f"{_GRID_SIDE}x{_GRID_SIDE} grid points",
        ("box", True): "boxes of the reference's masks",
        ("point", False): "annotated or innermost point",
        ("box", False): "tight box",
    }[prompt, reference is not None]
    return Evaluation(
        protocol=f"{prompt} ({source}), truth from {truth_name}, input {size}, mean over masks at full resolution",
        images=len(results),
        masks=sum(len(r[rules[0]]) for r in results),
        miou={rule: _mean(results, rule) for rule in rules},
        intervals={rule: _interval(results, rule, seed) for rule in rules},
        skipped=skipped,
        seconds=time.perf_counter() - start,
    )


@torch.inference_mode()
def _encode(sam: Sam, image: NDArray[np.uint8], size: int) -> tuple[Tensor, Frame]:
    pixels, frame = preprocess(image, size, *sam.preprocessing)
    return sam.encode(pixels[None].to(sam.dtype)), frame


def _annotated_truth(annotations: Sequence, shape: tuple[int, int], name: str) -> _Truth | None:
    if not annotations:
        return None
    masks = [decode_rle(a.rle) for a in annotations]
    wrong = next((mask.shape for mask in masks if mask.shape != shape), None)
    if wrong is not None:
        raise InputError(
            f"{name} is {shape[1]} wide and {shape[0]} high, but a mask of it {wrong[1]} and {wrong[0]}; "
            "expected them to agree"
        )
    truth = torch.from_numpy(np.stack(masks))
    return _Truth(
        np.array([[a.point] for a in annotations], np.float32),
        np.array([a.box for a in annotations], np.float32),
        dict.fromkeys(RULES, truth),
    )


def grid_points(frame: Frame, side: int) -> NDArray[np.float32]:
    """(side², 1, 2) centres of the cells of a grid over an image, x before y, pixels."""
    y, x = np.mgrid[0:side, 0:side]
    points = np.stack([(x + 0.5) * frame.width / side, (y + 0.5) * frame.height / side], axis=-1)
    return points.reshape(-1, 1, 2).astype(np.float32)


@torch.inference_mode()
def _reference_truth(reference: Sam, image: NDArray[np.uint8], size: int, prompt: Prompt) -> _Truth | None:
    embedding, frame = _encode(reference, image, size)
    points = grid_points(frame, _GRID_SIDE)
    low_res, iou = _decode(reference, embedding, frame, points=points)
    best = 1 + iou[:, 1:].argmax(dim=1)
    rows = torch.arange(len(points))
    masks = {"single": _full(reference, frame, low_res[:, 0]), "best": _full(reference, frame, low_res[rows, best])}
    masks["oracle"] = masks["best"]
    keep = masks["best"].flatten(1).any(dim=1)
    boxes = [bounding_box(mask.numpy()) for mask in masks["best"]]
    if prompt == "box":  # the reference answers the box, as the model will have to
        boxes = [box for box, kept in zip(boxes, keep, strict=True) if kept]
        if not boxes:
            return None
        array = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32)
        low_res, iou = _decode(reference, embedding, frame, boxes=array)
        best = 1 + iou[:, 1:].argmax(dim=1)
        rows = torch.arange(len(array))
        single, chosen = _full(reference, frame, low_res[:, 0]), _full(reference, frame, low_res[rows, best])
        return _Truth(points[keep.numpy()], array, {"single": single, "best": chosen, "oracle": chosen})
    if not keep.any():
        return None
    empty = np.zeros((int(keep.sum()), 4), np.float32)
    return _Truth(points[keep.numpy()], empty, {rule: mask[keep] for rule, mask in masks.items()})


def _decode(sam: Sam, embedding: Tensor, frame: Frame, **prompts: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    low_res_size = (4 * embedding.shape[2], 4 * embedding.shape[3])
    return decode(sam, embedding, make_prompts(frame, low_res_size, **prompts))


def _full(sam: Sam, frame: Frame, low_res: Tensor) -> Tensor:
    """Low-res logits (P, h, w) to masks (P, H, W) on the original image."""
    parts = [frame.upscale(part[:, None])[:, 0] > sam.config.mask_threshold for part in low_res.split(4)]
    return torch.cat(parts).cpu()


@torch.inference_mode()
def _compare(
    sam: Sam, embedding: Tensor, frame: Frame, truth: _Truth, prompt: Prompt, rules: Sequence[Rule]
) -> ImageResult:
    chosen = {"points": truth.points} if prompt == "point" else {"boxes": truth.boxes}
    low_res, iou = _decode(sam, embedding, frame, **chosen)
    best = 1 + iou[:, 1:].argmax(dim=1)
    result: ImageResult = {rule: [] for rule in rules}
    for p in range(len(low_res)):
        outputs = {"single": [0], "best": [int(best[p])], "oracle": list(range(1, low_res.shape[1]))}
        needed = sorted({output for rule in rules for output in outputs[rule]})
        masks = dict(zip(needed, _full(sam, frame, low_res[p, needed]), strict=True))
        for rule in rules:
            result[rule].append(max(float(_iou(masks[o], truth.masks[rule][p])) for o in outputs[rule]))
    return result


def _iou(a: Tensor, b: Tensor) -> float:
    union = int(torch.count_nonzero(a | b))
    return int(torch.count_nonzero(a & b)) / union if union else 1.0


def _mean(results: Sequence[ImageResult], rule: str) -> float:
    return float(np.mean([value for result in results for value in result[rule]]))


def _interval(results: Sequence[ImageResult], rule: str, seed: int) -> tuple[float, float]:
    sums = np.array([sum(result[rule]) for result in results])
    counts = np.array([len(result[rule]) for result in results])
    picks = np.random.default_rng(seed).integers(0, len(results), (_RESAMPLES, len(results)))
    low, high = np.quantile(sums[picks].sum(axis=1) / counts[picks].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)
