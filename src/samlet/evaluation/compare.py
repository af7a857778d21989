"""Several models side by side: accuracy on the same masks, cost, and which differences are real."""

from __future__ import annotations

import re
import statistics as plain
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samlet.checkpoints.storage import weight_bytes
from samlet.data.datasets import Dataset
from samlet.data.folders import data_name
from samlet.errors import InputError
from samlet.evaluation.costs import Cost, cost, peak_memory
from samlet.evaluation.detector import DetectorEvaluation, evaluate_detector
from samlet.evaluation.miou import Evaluation, evaluate_all
from samlet.evaluation.protocols import find_protocol
from samlet.evaluation.statistics import Difference, paired_difference
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel
from samlet.models import PromptableModel, embedding_of
from samlet.runs.distributed import DistributedContext

_ROUNDS = 5
_BUDGET_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model that is compared.

    Attributes:
        name: what to call it.
        model: the model.
        file_bytes: of its weights; None if unknown.
        load: loads it again, in a fresh process, to measure memory; None for no measurement.
        storage: what the weights of the file are stored as, such as `int8`; None if unknown.
    """

    name: str
    model: AnyModel
    file_bytes: int | None = None
    load: Callable[[], PromptableModel] | None = None
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model's figures.

    Attributes:
        name: of the model.
        evaluations: by protocol.
        detector: by `box-detector`, if it was asked for.
        cost: parameters and MACs; None for a model that is no `Sam`, exported or not.
        encoder_s: median seconds of an encoder pass, the models taking turns; None if not measured.
        decoder_s: of one prompt, likewise.
        peak_memory_bytes: of a fresh process; None if not measured.
        file_bytes: of the weights; None if unknown.
        storage: what they are stored as in the file; None if unknown.
        weights_bytes: bytes of the weights in each of `checkpoints.storage.STORES`, so that like is compared with
            like; None for a model without weights of its own.
    """

    name: str
    evaluations: dict[str, Evaluation]
    detector: DetectorEvaluation | None
    cost: Cost | None
    encoder_s: float | None
    decoder_s: float | None
    peak_memory_bytes: int | None
    file_bytes: int | None
    storage: str | None = None
    weights_bytes: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Model a less model b by one protocol and rule."""

    a: str
    b: str
    protocol: str
    rule: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` finds; `data` is what the photographs are called."""

    rows: tuple[Row, ...]
    differences: tuple[Pair, ...]
    data: str = ""


def compare(
    contestants: Sequence[Contestant],
    dataset: Dataset,
    protocols: Sequence[str],
    *,
    reference: AnyModel | None = None,
    detections: Path | None = None,
    images: Path | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    measure: bool = True,
    threads: int | None = None,
    everything: Mapping[str, Any] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    engine: DistributedContext | None = None,
) -> Comparison:
    """Compare models on one dataset.

    Args:
        contestants: the models, of different names.
        dataset: photographs.
        protocols: names; see `samlet.evaluation.protocols`.
        reference: model whose masks count as true, for photographs without annotations.
        detections: a detector's results JSON, for `box-detector`.
        images: folder of the images, for `box-detector`.
        image_size: side of the encoders' input, pixels; each model's own if None.
        limit: use only the first so many images.
        seed: of the bootstrap.
        measure: time the models, in turns, and measure their memory.
        threads: CPU threads of the memory measurement.
        everything: options of everything mode.
        out: folder that keeps the results of each image and model; what is there is not computed again.
        overwrite: start again in `out`.
        progress: show bars.
        engine: the processes that share the images; this one alone if None.

    Raises:
        InputError: two models of one name, or what `evaluate_all` refuses.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice} is given twice; expected models of different names")
    chosen = [find_protocol(name) for name in protocols]
    plain_names = [protocol.name for protocol in chosen if protocol.kind != "box-detector"]
    by_detector = len(plain_names) < len(chosen)
    if by_detector and (detections is None or dataset.kind != "coco"):
        raise InputError("protocol box-detector needs --detections FILE, and a COCO or LVIS JSON as data")
    measured: dict[str, tuple[dict[str, Evaluation], DetectorEvaluation | None]] = {}
    for contestant in contestants:
        folder = None if out is None else out / _safe(contestant.name)
        found = []
        if plain_names:
            found = evaluate_all(
                contestant.model,
                dataset,
                plain_names,
                reference,
                image_size,
                limit=limit,
                seed=seed,
                progress=progress,
                everything=dict(everything or {}),
                out=folder,
                overwrite=overwrite,
                title=contestant.name,
                engine=engine,
            )
        detector = None
        if by_detector and detections is not None:
            detector = evaluate_detector(
                contestant.model,
                dataset.path,
                detections,
                images,
                image_size,
                limit=limit,
                progress=progress,
                out=None if folder is None else folder.with_name(f"{folder.name}-detector"),
                overwrite=overwrite,
                title=contestant.name,
                engine=engine,
            )
        measured[contestant.name] = {evaluation.name: evaluation for evaluation in found}, detector
    turns = in_turns(contestants, image_size) if measure else {}
    rows = []
    for contestant in contestants:
        evaluations, detector = measured[contestant.name]
        sam = as_segmenter(contestant.model).promptable
        memory = None
        if measure and contestant.load is not None and sam is not None:
            memory = peak_memory(contestant.load, sam.check_image_size(image_size), threads)
        encoder_s, decoder_s = turns.get(contestant.name, (None, None))
        rows.append(
            Row(
                name=contestant.name,
                evaluations=evaluations,
                detector=detector,
                cost=None if sam is None else cost(sam, image_size, measure=False),
                encoder_s=encoder_s,
                decoder_s=decoder_s,
                peak_memory_bytes=memory,
                file_bytes=contestant.file_bytes,
                storage=contestant.storage,
                weights_bytes=None if sam is None else weight_bytes(sam),
            )
        )
    return Comparison(rows=tuple(rows), differences=_differences(rows, seed), data=data_name(dataset.path))


def _differences(rows: Sequence[Row], seed: int) -> tuple[Pair, ...]:
    """Every pair of models by every protocol and rule."""
    return tuple(
        Pair(
            a=a.name,
            b=b.name,
            protocol=protocol,
            rule=rule,
            difference=paired_difference(
                a.evaluations[protocol].values(rule), b.evaluations[protocol].values(rule), seed
            ),
        )
        for a, b in combinations(rows, 2)
        for protocol in a.evaluations
        for rule in a.evaluations[protocol].miou
        if [r.name for r in a.evaluations[protocol].results] == [r.name for r in b.evaluations[protocol].results]
    )


def in_turns(contestants: Sequence[Contestant], image_size: int | None) -> dict[str, tuple[float, float]]:
    """Median seconds of an encoder pass and of one prompt, a pass of each model in turn, so that drift hits all."""
    runs = {contestant.name: _runs(contestant.model, image_size) for contestant in contestants}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in runs}
    start = time.perf_counter()
    for turn in range(_ROUNDS + 1):  # the first warms up
        for name, parts in runs.items():
            for run, found in zip(parts, times[name], strict=True):
                begin = time.perf_counter()
                run()
                if turn:
                    found.append(time.perf_counter() - begin)
        if turn and time.perf_counter() - start > _BUDGET_S:
            break
    return {name: (plain.median(encoder), plain.median(decoder)) for name, (encoder, decoder) in times.items()}


def _runs(model: AnyModel, image_size: int | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A pass of the encoder, and one prompt."""
    segmenter = as_segmenter(model, image_size)
    size, sam = segmenter.image_size, segmenter.promptable
    if sam is None:
        image = np.full((size, size, 3), 127, np.uint8)
        return partial(segmenter.set_image, image), partial(segmenter.answer, points=[[size / 2, size / 2]])
    device = sam.device
    pixels = torch.zeros(1, 3, size, size, device=device, dtype=sam.dtype)
    embedding = embedding_of([pixels.new_zeros(1, *shape) for shape in sam.config.encoder.map_shapes(size, size)])
    click = torch.full((1, 1, 2), size / 2, device=device, dtype=sam.dtype)
    label = torch.ones(1, 1, dtype=torch.long, device=device)

    @torch.inference_mode()
    def run(function: Callable[..., Any], *given: Any) -> None:
        function(*given)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return partial(run, sam.encode, pixels), partial(run, sam.decode, embedding, click, label)


def _safe(name: str) -> str:
    """A name as one of a folder."""
    return re.sub(r"[^\w.-]+", "_", Path(name).name).strip("._") or "model"
