"""Zero-shot instance segmentation: a detector's boxes as prompts, judged by COCO's or LVIS's average precision.

Every box of the detector is a prompt of its own; the mask takes the box's category and score (Kirillov et al., "Segment
Anything", 2023, section 7.4; TinySAM, "Zero-shot instance segmentation"). The AP is that of pycocotools, or
LVIS's own (`lvis_precision`).
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from samlet.data.coco import CocoSource, read_truth
from samlet.data.masks import encode_rle
from samlet.data.samples import Sample
from samlet.errors import InputError
from samlet.evaluation.average_precision import Detection, is_lvis, precision
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel, Segmenter
from samlet.io.documents import read_json
from samlet.io.progress import followed
from samlet.io.schema import checked
from samlet.runs.distributed import DistributedContext
from samlet.runs.records import RecordStore

_PROMPTS = 16
_RULES = ("single", "best")


@dataclass(frozen=True, kw_only=True)
class DetectorEvaluation:
    """Average precision of a model's masks in a detector's boxes.

    Attributes:
        name: `box-detector`.
        protocol: what was done, in words.
        images: images of the dataset that were used.
        detections: boxes that were prompts.
        precision: by rule, AP and its kin, fractions; -1 where there is nothing to measure.
        skipped: images that could not be read, with the reason.
        seconds: of the whole evaluation.
    """

    name: str
    protocol: str
    images: int
    detections: int
    precision: dict[str, dict[str, float]]
    skipped: dict[str, str]
    seconds: float


def evaluate_detector(
    sam: AnyModel,
    annotations: Path,
    detections: Path,
    images: Path | None = None,
    image_size: int | None = None,
    *,
    limit: int | None = None,
    progress: bool = True,
    out: Path | None = None,
    overwrite: bool = False,
    title: str = "",
    engine: DistributedContext | None = None,
) -> DetectorEvaluation:
    """AP of a model's masks for a detector's boxes.

    Args:
        sam: the model.
        annotations: COCO instances JSON, or LVIS v1's.
        detections: the detector's results JSON: `image_id`, `category_id`, `bbox` (x, y, width, height), `score`.
        images: folder of the images; `images` beside the JSON if None.
        image_size: side of the encoder's input, pixels; the model's own if None.
        limit: use only the first so many images.
        progress: show a bar.
        out: folder that keeps the results of each image; what is there already is not computed again.
        overwrite: start again in `out`.
        title: of the bar.
        engine: the processes that share the images, all of which call this and get the whole result; this one alone
            if None.

    Raises:
        InputError: a file cannot be read.
    """
    start = time.perf_counter()
    segmenter = as_segmenter(sam, image_size)
    source = CocoSource(annotations, images or annotations.parent / "images", annotated_only=False)
    boxes = _read_detections(detections)
    samples = [source.sample(i) for i in range(len(source) if limit is None else min(limit, len(source)))]
    lvis = is_lvis(annotations)
    skipped: dict[str, str] = {}
    recipe = {
        "model": segmenter.fingerprint(),
        "data": str(annotations),
        "detections": str(detections),
        "images": len(samples),
        "protocols": ["box-detector"],
        "image_size": segmenter.image_size,
    }
    rank, world = (0, 1) if engine is None else (engine.rank, engine.world)
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(temporary if out is None else out)
        store = RecordStore(
            Path(folder if engine is None else engine.from_main(folder)), recipe, rank, overwrite, engine, _Record
        )
        with store:
            for sample in followed(samples[rank::world], title or "evaluating", "image", shown=progress and not rank):
                if str(sample.path) in store.done:
                    continue
                record = _answers(segmenter, sample, boxes.get(sample.identity, []), skipped)
                if record is not None:
                    store.add(record)
        records = store.all()
    truth = read_truth(annotations)
    used = [sample.identity for sample in samples]
    found = {rule: [entry for record in records for entry in record["results"][rule]] for rule in _RULES}
    data = "LVIS" if lvis else "COCO"
    return DetectorEvaluation(
        name="box-detector",
        protocol=f"box-detector (boxes and scores of {detections.name}, {data} AP of masks), input "
        f"{segmenter.image_size}",
        images=len(samples),
        detections=len(found["best"]),
        precision={rule: precision(truth, entries, used, lvis) for rule, entries in found.items()},
        skipped=skipped,
        seconds=time.perf_counter() - start,
    )


class _Record(TypedDict):
    name: str
    results: dict[str, list]


def _answers(
    segmenter: Segmenter, sample: Sample, detections: list[Detection], skipped: dict[str, str]
) -> dict[str, Any] | None:
    """Entries of a results file for one image, by rule."""
    results: dict[str, list[Detection]] = {rule: [] for rule in _RULES}
    if detections:
        try:
            image = sample.image()
        except InputError as error:
            skipped[str(sample.path)] = str(error)
            return None
        segmenter.set_image(image)
        boxes = np.array([_inside(entry["bbox"], image.shape[1], image.shape[0]) for entry in detections], np.float32)
        for start in range(0, len(boxes), _PROMPTS):
            answers = segmenter.answer(boxes=boxes[start : start + _PROMPTS])
            for p, entry in enumerate(detections[start : start + _PROMPTS]):
                best = answers.best(p)
                masks = answers.draw(p, [int(answers.singles[p]), best])
                for rule, mask in zip(_RULES, masks, strict=True):
                    kept = {key: entry[key] for key in ("image_id", "category_id", "score")}
                    results[rule].append({**kept, "segmentation": encode_rle(mask)})
    return {"name": str(sample.path), "results": results}


def _inside(box: Any, width: int, height: int) -> tuple[float, float, float, float]:
    """A box x, y, w, h as corners inside an image, at least a pixel large."""
    x, y, w, h = (float(value) for value in box)
    x0, y0 = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    return x0, y0, max(min(x + w, width), x0 + 1.0), max(min(y + h, height), y0 + 1.0)


def _read_detections(path: Path) -> dict[Any, list[Detection]]:
    found: dict[Any, list[Detection]] = defaultdict(list)
    try:
        for entry in checked(read_json(path), list[_Detection]):
            found[entry["image_id"]].append(entry)
    except InputError as error:
        said = str(error).removeprefix(f"{path} ")
        raise InputError(
            f"{path} is no results JSON of a detector: {said}; expected a list of image_id, category_id, bbox "
            "(x, y, width, height) and score"
        ) from error
    return found


class _Detection(TypedDict):
    image_id: int | float | str
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
