"""`samlet evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from samlet._version import __version__
from samlet.baselines.loading import load_any
from samlet.cli.common import columns, note, set_up, several_processes, show, tell_left_out
from samlet.data.datasets import Dataset, open_dataset, plain_images
from samlet.errors import InputError
from samlet.evaluation import report
from samlet.evaluation.detector import DetectorEvaluation, evaluate_detector
from samlet.evaluation.miou import Evaluation, evaluate_all
from samlet.evaluation.protocols import find_protocol
from samlet.evaluation.worst import write_worst
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel
from samlet.io.writing import write_json
from samlet.runs.distributed import DistributedContext


def run(options: argparse.Namespace) -> None:
    """Measure one model on one dataset by one protocol."""
    protocol = find_protocol(options.protocol or options.prompt or "sa1b-point")
    check(options)
    device = set_up(options)
    engine = several_processes(options)
    model = load_any(options.model, device if engine is None else engine.device, options.threads)
    if protocol.kind == "box-detector":
        _detector(options, model, engine)
        return
    dataset = open_data(options)
    reference = load_any(options.reference, device, options.threads) if options.reference else None
    (found,) = evaluate_all(
        model,
        dataset,
        [protocol.name],
        reference,
        options.image_size,
        limit=options.limit,
        seed=options.seed,
        everything=everything_options(options),
        out=options.out,
        overwrite=options.overwrite,
        engine=engine,
    )
    tell_skipped(found.skipped)
    if engine is not None and not engine.is_main:
        return
    content = report.evaluation_json(found) | _asked(options)
    written = ""
    if options.out is not None:
        write_json(options.out / "evaluation.json", content)
        if dataset.annotated and reference is None:
            write_worst(found, dataset, as_segmenter(model, options.image_size), options.out / "worst.png")
            written = f"\n{options.out}: evaluation.json, worst.png, what was measured on each image"
        else:
            written = f"\n{options.out}: evaluation.json, what was measured on each image"
    show(options, content, _text(found) + written)


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What was measured and how, so that the JSON speaks for itself."""
    return {
        "model": options.model,
        "data": str(options.data),
        "reference": options.reference,
        "limit": options.limit,
        "seed": options.seed,
        "samlet": __version__,
    }


def _text(found: Evaluation) -> str:
    rules = list(found.miou)
    rows = [("", *rules), ("mIoU", *(f"{found.miou[rule]:.4f}" for rule in rules))]
    rows.append(("95% interval", *("{:.4f} to {:.4f}".format(*found.intervals[rule]) for rule in rules)))
    rows.append(("mean over images", *(f"{found.over_images[rule]:.4f}" for rule in rules)))
    for size, (count, _) in (found.by_size.get(rules[0]) or {}).items():
        values = [found.by_size[rule][size][1] for rule in rules]
        rows.append((f"{size} ({count})", *("–" if value is None else f"{value:.4f}" for value in values)))
    lines = [columns(rows), f"{found.masks} masks on {found.images} images, {found.seconds:.1f} s"]
    if found.recall:
        recall = ", ".join(f"{value:.4f} with {count}" for count, value in found.recall.items())
        lines.append(f"average recall by number of masks: {recall}")
    lines.append(f"encoder {found.encode_s:.2f} s, prompts {found.prompts_s:.2f} s an image")
    return "\n".join([*lines, f"protocol: {found.protocol}"])


def _detector(options: argparse.Namespace, model: AnyModel, engine: DistributedContext | None) -> None:
    if options.detections is None or options.reference or options.data.suffix != ".json":
        raise InputError("protocol box-detector needs --detections FILE and a COCO or LVIS JSON, and no --reference")
    found: DetectorEvaluation = evaluate_detector(
        model,
        options.data,
        options.detections,
        options.images,
        options.image_size,
        limit=options.limit,
        out=options.out,
        overwrite=options.overwrite,
        engine=engine,
    )
    tell_skipped(found.skipped)
    if engine is not None and not engine.is_main:
        return
    content = report.detector_json(found) | _asked(options)
    if options.out is not None:
        write_json(options.out / "evaluation.json", content)
    names = list(next(iter(found.precision.values())))
    rows = [("", *names)]
    rows += [(rule, *(f"{values[name]:.4f}" for name in names)) for rule, values in found.precision.items()]
    text = f"{columns(rows)}\n{found.detections} boxes on {found.images} images, {found.seconds:.1f} s"
    show(options, content, f"{text}\nprotocol: {found.protocol}")


def check(options: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing.

    Raises:
        InputError: a limit below 1.
    """
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}; expected at least 1")


def open_data(options: argparse.Namespace) -> Dataset:
    """The dataset; a folder counts as plain images where a reference model is asked."""
    annotated = options.reference is None or options.data.is_file()
    dataset = open_dataset(options.data, options.images) if annotated else plain_images(options.data)
    if dataset.annotated or options.reference is not None:  # else an error follows, which is one line
        tell_left_out(dataset)
    return dataset


def everything_options(options: argparse.Namespace) -> dict[str, Any]:
    """Options of everything mode, where it is asked for."""
    return {"strategy": options.strategy, "points_per_side": options.points_per_side}


def tell_skipped(skipped: dict[str, str]) -> None:
    """Name what could not be read."""
    for path, reason in skipped.items():
        note(f"samlet: skipped {path}: {reason}")
