"""Mean IoU of a model by one or several protocols, against true masks or against another model's.

One encode an image; prompts are decoded in batches, and only masks that are judged are drawn.

One module, though long: the public functions are thin, and what they share is one pass over photographs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samlet.baselines.loading import open_segmenter
from samlet.data.datasets import Dataset, open_dataset
from samlet.data.samples import Sample
from samlet.errors import InputError, NothingLeftError
from samlet.evaluation import statistics
from samlet.evaluation.ground_truth import RULES, Rule, annotated_truth, reference_truth
from samlet.evaluation.protocols import COUNTS, Protocol, Values, find_protocol, score
from samlet.inference.segmenter import AnyModel, Segmenter
from samlet.io.progress import followed
from samlet.runs.distributed import DistributedContext
from samlet.runs.records import RecordStore


@dataclass(frozen=True)
class ImageResult:
    """What was measured on one image.

    Attributes:
        name: of the image in its dataset.
        areas: of the true masks, pixels.
        values: by protocol, IoU of every true mask by rule.
        seconds: by protocol; `encode` for the encoder.
    """

    name: str
    areas: list[int]
    values: dict[str, Values]
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Mean IoU of a model on a dataset by one protocol.

    Attributes:
        name: of the protocol.
        protocol: what was done, in words and numbers, exact enough to compare figures.
        images: images that had masks to compare with.
        masks: masks compared.
        miou: mean IoU over masks by rule: `single` the single-mask output, `best` the multimask output of highest
            predicted IoU, `oracle` the best of the three against the truth.
        intervals: 95 % bootstrap interval over images, by rule.
        over_images: mean over images of each image's mean, by rule, as SlimSAM's code averages.
        by_size: number of masks and mean IoU by COCO's sizes, by rule.
        recall: for everything mode, average recall over IoU .50 to .95 with so many masks.
        skipped: images that could not be read, with the reason.
        seconds: of the whole evaluation.
        encode_s: of the encoder, an image.
        prompts_s: of everything after the encoder, an image.
        results: what was measured on each image.
    """

    name: str
    protocol: str
    images: int
    masks: int
    miou: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    over_images: dict[str, float]
    by_size: dict[str, dict[str, tuple[int, float | None]]]
    recall: dict[str, float]
    skipped: dict[str, str]
    seconds: float
    encode_s: float
    prompts_s: float
    results: tuple[ImageResult, ...] = field(repr=False)

    def values(self, rule: str) -> list[list[float]]:
        """IoU of every mask, by image."""
        return [result.values[self.name][rule] for result in self.results]


def evaluate(
    sam: AnyModel | str | Path,
    dataset: Dataset | str | Path,
    prompt: str = "point",
    reference: AnyModel | str | Path | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
    rules: Sequence[Rule] = RULES,
) -> Evaluation:
    """Compare a model's masks with true ones, or with a reference model's, by one protocol.

    With annotations, a prompt comes from a true mask. With a reference model it is one of 4×4 points spread over the
    image, or the box of the mask that the reference answers with there; `single` is compared with the reference's
    single mask, the others with its best predicted one. A model compared with itself scores 1.

    Args:
        sam: the model, or its name or path.
        dataset: photographs, from `open_dataset`, or where they are.
        prompt: name of a protocol; see `samlet.evaluation.protocols`.
        reference: model, or its name or path, whose masks count as true; needed for photographs without annotations.
        image_size: side of the encoder's input, pixels; the model's own if None.
        limit: use only the first so many images.
        seed: of the bootstrap.
        progress: show a bar.
        rules: which of `RULES` to measure; fewer are faster.

    Raises:
        InputError: no annotations and no reference, or nothing to compare.
    """
    (found,) = evaluate_all(
        sam, dataset, [prompt], reference, image_size, limit=limit, seed=seed, progress=progress, rules=rules
    )
    return found


def evaluate_all(
    sam: AnyModel | str | Path,
    dataset: Dataset | str | Path,
    protocols: Sequence[str],
    reference: AnyModel | str | Path | None = None,
    image_size: int | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
    rules: Sequence[Rule] = RULES,
    everything: dict[str, Any] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    title: str = "",
    engine: DistributedContext | None = None,
) -> list[Evaluation]:
    """As `evaluate`, by several protocols, each image encoded once.

    Args:
        sam: the model, or its name or path.
        dataset: photographs, or where they are.
        protocols: names.
        reference: model, or its name or path, whose masks count as true.
        image_size: side of the encoder's input, pixels; the model's own if None.
        limit: use only the first so many images.
        seed: of the bootstrap.
        progress: show a bar.
        rules: which of `RULES` to measure.
        everything: options of everything mode.
        out: folder that keeps the results of each image; what is there already is not computed again.
        overwrite: start again in `out`.
        title: of the bar.
        engine: the processes that share the images, all of which call this and get the whole result; this one alone
            if None.

    Raises:
        InputError: no annotations and no reference, nothing to compare, or a protocol that needs something else.
    """
    chosen = [find_protocol(name) for name in protocols]
    if not chosen:
        raise InputError("no protocol was given; expected at least one, such as sa1b-point or box")
    if any(protocol.kind == "box-detector" for protocol in chosen):
        raise InputError("protocol box-detector needs a detector's boxes; use samlet.evaluation.detector")
    dataset = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    segmenter = open_segmenter(sam, image_size)
    compared = None if reference is None else open_segmenter(reference, segmenter.image_size)
    if not dataset.annotated and reference is None:
        raise InputError(
            f"{dataset.path} has no annotations; name a model to compare with (--reference MODEL), or give an SA-1B "
            "folder or a COCO JSON"
        )
    if reference is not None and any(protocol.kind in ("clicks", "everything") for protocol in chosen):
        raise InputError("clicks and everything mode need true masks; with a reference expected sa1b-point or box")
    start = time.perf_counter()
    samples = dataset.head(limit)
    recipe = _recipe(segmenter, compared, samples, chosen, segmenter.image_size, rules, everything or {})
    skipped: dict[str, str] = {}
    rank, world = (0, 1) if engine is None else (engine.rank, engine.world)

    def measure(sample: Sample) -> ImageResult | None:
        return _measure(segmenter, compared, sample, chosen, rules, everything or {}, skipped)

    with tempfile.TemporaryDirectory() as temporary:
        folder = str(temporary if out is None else out)
        store = RecordStore(
            Path(folder if engine is None else engine.from_main(folder)), recipe, rank, overwrite, engine, ImageResult
        )
        share = samples.share(rank, world)
        with store:
            for sample in followed(share, title or "evaluating", "image", share.size, progress and not rank):
                if str(sample.path) not in store.done and (measured := measure(sample)) is not None:
                    store.add(asdict(measured))
        results = [ImageResult(**record) for record in store.all()]
    if not results:
        said = f"{dataset.path} has no mask to compare with"
        if skipped:
            first = next(iter(skipped.values()))
            raise NothingLeftError(f"{said}: all {len(skipped)} that were tried cannot be used; the first: {first}")
        raise InputError(f"{said}; expected annotated photographs")
    seconds = time.perf_counter() - start
    truth = "reference model" if reference is not None else f"{dataset.kind} annotations"
    return [
        _summary(protocol, results, rules, truth, segmenter.image_size, seed, skipped, seconds) for protocol in chosen
    ]


def _recipe(
    model: Segmenter,
    reference: Segmenter | None,
    dataset: Dataset,
    protocols: Sequence[Protocol],
    image_size: int,
    rules: Sequence[Rule],
    everything: dict[str, Any],
) -> dict[str, Any]:
    """What determines the result of an image."""
    return {
        "model": model.fingerprint(),
        "reference": None if reference is None else reference.fingerprint(),
        "data": str(dataset.path),
        "images": dataset.size,
        "protocols": [protocol.name for protocol in protocols],
        "rules": list(rules),
        "image_size": image_size,
        "everything": everything,
    }


def _measure(
    segmenter: Segmenter,
    reference: Segmenter | None,
    sample: Sample,
    protocols: Sequence[Protocol],
    rules: Sequence[Rule],
    everything: dict[str, Any],
    skipped: dict[str, str],
) -> ImageResult | None:
    """One image by all protocols; None, and a reason in `skipped`, where it cannot be read."""
    try:
        image = sample.image()
        truth = None if reference is not None else annotated_truth(sample, (image.shape[0], image.shape[1]))
    except InputError as error:
        skipped[str(sample.path)] = str(error)
        return None
    if reference is None:
        skipped.update({f"{sample.path}, mask {number}": why for number, why in enumerate(sample.problems, start=1)})
        if truth is None:
            return None
    begin = time.perf_counter()
    segmenter.set_image(image)
    segmenter.encode()
    values: dict[str, Values] = {}
    seconds = {"encode": time.perf_counter() - begin}
    for protocol in protocols:
        if reference is not None:
            truth = reference_truth(reference, image, protocol.kind == "box")
        if truth is None:
            return None
        begin = time.perf_counter()
        values[protocol.name] = score(protocol, segmenter, truth, rules, everything)
        seconds[protocol.name] = time.perf_counter() - begin
    assert truth is not None
    return ImageResult(str(sample.path), truth.areas, values, seconds)


def _summary(
    protocol: Protocol,
    results: Sequence[ImageResult],
    rules: Sequence[Rule],
    truth: str,
    image_size: int,
    seed: int,
    skipped: dict[str, str],
    seconds: float,
) -> Evaluation:
    shown = [rule for rule in protocol.rules if rule in rules]
    values = {rule: [result.values[protocol.name][rule] for result in results] for rule in shown}
    areas = [result.areas for result in results]
    told = protocol.describe(reference=truth == "reference model")
    recall = {}
    if protocol.kind == "everything":
        recall = {
            str(count): statistics.average_recall([r.values[protocol.name][f"best@{count}"] for r in results])
            for count in COUNTS
        }
    return Evaluation(
        name=protocol.name,
        protocol=f"{protocol.name} ({told}), truth from {truth}, input {image_size}, "
        "mean over masks at full resolution",
        images=len(results),
        masks=sum(len(image) for image in values[shown[0]]),
        miou={rule: statistics.mean_over_masks(v) for rule, v in values.items()},
        intervals={rule: statistics.interval(v, seed) for rule, v in values.items()},
        over_images={rule: statistics.mean_over_images(v) for rule, v in values.items()},
        by_size={
            rule: statistics.by_size(v, areas) if [len(a) for a in areas] == [len(i) for i in v] else {}
            for rule, v in values.items()
        },
        recall=recall,
        skipped=skipped,
        seconds=seconds,
        encode_s=sum(r.seconds.get("encode", 0.0) for r in results) / len(results),
        prompts_s=sum(r.seconds[protocol.name] for r in results) / len(results),
        results=tuple(results),
    )
