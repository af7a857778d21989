"""Average precision as LVIS defines it (Gupta et al., 2019, section 4.1), for masks.

LVIS labels each image for some categories only. A detection counts where its category is known to be in the image (it
has masks there) or known to be absent (`neg_category_ids`); other detections are passed over. Where not all objects of
a category are labelled (`not_exhaustive_category_ids`), a detection without a match is passed over too. The 300
detections of an image with the highest scores count.

The figures are those of the package `lvis` 0.5.3; `tests/evaluation/lvis_figures.json` holds some. One difference: an
annotation whose id is 0 is matched like any other.

D: detections of one category in one image, by falling score. G: its true masks. T: thresholds of IoU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samlet.errors import InputError

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 300  # of one image
AREAS = {"": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # pixels
FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}
FIGURES = ("AP", "AP50", "AP75", *(f"AP_{name}" for name in (*list(AREAS)[1:], *FREQUENCIES)))

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """One category in one image.

    Attributes:
        scores: (D,).
        areas: (D,) pixels of the detections.
        true_areas: (G,) pixels of the true masks.
        ignored: (G,) true masks that count neither way.
        ious: (D, G).
        exhaustive: whether all objects of the category are labelled.
    """

    scores: Floats
    areas: Floats
    true_areas: Floats
    ignored: Bools
    ious: Floats
    exhaustive: bool


def lvis_precision(
    truth: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], images: Iterable[Any]
) -> dict[str, float]:
    """AP over all thresholds, at 0.5 and 0.75, by size and by frequency; fractions, -1 where nothing can be measured.

    Args:
        truth: of LVIS v1, with masks as RLE (`samlet.data.coco.read_truth`).
        entries: of a results file: `image_id`, `category_id`, `score`, `segmentation` (RLE).
        images: ids of the images that count.

    Raises:
        InputError: an image does not say which categories it lacks.
    """
    categories = [entry["id"] for entry in truth["categories"]]
    pairs = _pairs(truth, entries, set(images), set(categories))
    found = {
        name: np.stack([_precision(pairs.get(category, ()), low, high) for category in categories])
        for name, (low, high) in AREAS.items()
    }  # each (categories, T, recalls)
    everything = found[""]
    frequency = [entry.get("frequency") for entry in truth["categories"]]
    figures = {"AP": _mean(everything)}
    figures |= {f"AP{round(100 * at)}": _mean(everything[:, np.isclose(THRESHOLDS, at)]) for at in (0.5, 0.75)}
    figures |= {f"AP_{name}": _mean(values) for name, values in found.items() if name}
    for name, letter in FREQUENCIES.items():
        figures[f"AP_{name}"] = _mean(everything[[one == letter for one in frequency]])
    return figures


def _pairs(
    truth: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], images: set[Any], categories: set[Any]
) -> dict[Any, list[_Pair]]:
    """What counts of each category, image after image."""
    absent: dict[Any, set[Any]] = {}
    unsure: dict[Any, set[Any]] = {}
    for image in truth["images"]:
        if image["id"] in images:
            absent[image["id"]] = _labelled(image, "neg_category_ids")
            unsure[image["id"]] = _labelled(image, "not_exhaustive_category_ids")
    masks: dict[tuple[Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        if annotation["image_id"] in absent and annotation["category_id"] in categories:
            masks[annotation["category_id"], annotation["image_id"]].append(annotation)
    detections: dict[tuple[Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for entry in _best(entries):
        image, category = entry["image_id"], entry["category_id"]
        if image in absent and category in categories and (category in absent[image] or (category, image) in masks):
            detections[category, image].append(entry)
    pairs: dict[Any, list[_Pair]] = defaultdict(list)
    for category, image in sorted({*masks, *detections}, key=lambda key: [(isinstance(one, str), one) for one in key]):
        pairs[category].append(
            _pair(masks[category, image], detections[category, image], category not in unsure[image])
        )
    return pairs


def _labelled(image: Mapping[str, Any], key: str) -> set[Any]:
    if not isinstance(image.get(key), list):
        raise InputError(
            f"image {image['id']} has {key} {image.get(key)!r}; expected a list of categories, as in LVIS v1's "
            "annotations. Take the published file, or remove `frequency` from the categories to measure it as COCO"
        )
    return set(image[key])


def _best(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The detections of each image with the highest scores."""
    by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        by_image[entry["image_id"]].append(entry)
    kept = (sorted(some, key=lambda entry: -entry["score"])[:MOST_DETECTIONS] for some in by_image.values())
    return [entry for some in kept for entry in some]


def _pair(masks: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], exhaustive: bool) -> _Pair:
    true = [entry["segmentation"] for entry in masks]
    found = [entry["segmentation"] for entry in detections]
    ious = coco_mask.iou(found, true, [0] * len(true)) if found and true else []
    return _Pair(
        scores=np.array([entry["score"] for entry in detections], np.float64),
        areas=np.array([coco_mask.area(rle) for rle in found], np.float64),
        true_areas=np.array([entry["area"] for entry in masks], np.float64),
        ignored=np.array([bool(entry.get("ignore")) for entry in masks], np.bool_),
        ious=np.asarray(ious, np.float64).reshape(len(found), len(true)),
        exhaustive=exhaustive,
    )


def _precision(pairs: Sequence[_Pair], low: float, high: float) -> Floats:
    """Precision of one category at every threshold and recall, (T, recalls), for objects of some size.

    -1 where there is no such object.
    """
    shape = (len(THRESHOLDS), len(RECALLS))
    right, counted, objects = [], [], 0
    for pair in pairs:
        ignored = pair.ignored | (pair.true_areas < low) | (pair.true_areas > high)
        objects += int((~ignored).sum())
        matched, onto_ignored = _match(pair.ious, ignored)
        passed_over = (pair.areas < low) | (pair.areas > high) | (not pair.exhaustive)
        right.append(matched & ~onto_ignored)
        counted.append(np.where(matched, ~onto_ignored, ~passed_over))
    if not objects:
        return np.full(shape, -1.0)
    order = np.argsort(-np.concatenate([pair.scores for pair in pairs]), kind="stable")
    hits = np.cumsum(np.concatenate(right, axis=1)[:, order], axis=1)
    answers = np.cumsum(np.concatenate(counted, axis=1)[:, order], axis=1)
    recall = hits / objects
    precision = hits / np.maximum(answers, 1)
    best_behind = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # at this recall or a higher one
    found = np.zeros(shape)
    for threshold, values in enumerate(best_behind):
        at = np.searchsorted(recall[threshold], RECALLS)
        reached = at < len(values)
        found[threshold, reached] = values[at[reached]]
    return found


def _match(ious: Floats, ignored: Bools) -> tuple[Bools, Bools]:
    """Give each detection, the surest first, the free true mask that it overlaps most, one that counts if it can.

    Returns:
        Which detections have one, and which have one that is ignored; both (T, D).
    """
    detections, masks = ious.shape
    thresholds = np.arange(len(THRESHOLDS))
    matched, onto_ignored = (np.zeros((len(thresholds), detections), np.bool_) for _ in range(2))
    taken = np.zeros((len(thresholds), masks), np.bool_)
    if not masks:
        return matched, onto_ignored
    for number, row in enumerate(ious):
        free = ~taken & (row >= THRESHOLDS[:, None])
        for is_ignored in (False, True):
            pool = free & (ignored == is_ignored)
            chosen = masks - 1 - np.argmax(np.where(pool, row, -1.0)[:, ::-1], axis=1)  # the last of several equal ones
            new = thresholds[pool.any(axis=1) & ~matched[:, number]]
            taken[new, chosen[new]] = True
            matched[new, number] = True
            onto_ignored[new, number] = is_ignored
    return matched, onto_ignored


def _mean(values: Floats) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
