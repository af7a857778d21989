"""`samlet compare`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from samlet.baselines.loading import load_any
from samlet.checkpoints.storage import storage_of
from samlet.cli.common import columns, file_bytes, set_up, several_processes, show
from samlet.cli.evaluate import check, everything_options, open_data, tell_skipped
from samlet.evaluation import report
from samlet.evaluation.compare import Contestant, compare
from samlet.evaluation.protocols import find_protocol
from samlet.io.paths import expanded
from samlet.io.writing import check_output, new_file, write_json
from samlet.zoo import ENTRIES, load_path, locate

_DEFAULT = ["sa1b-point", "box"]


def run(options: argparse.Namespace) -> None:
    """Compare models on one dataset."""
    check(options)
    protocols = [find_protocol(name).name for name in options.protocol or _DEFAULT]
    device = set_up(options)
    engine = several_processes(options)
    dataset = open_data(options)
    out = None
    if options.out is not None and (engine is None or engine.is_main):
        out = _claim(expanded(options.out).resolve())
    if engine is not None and options.out is not None:
        out = Path(engine.from_main(str(out)))
    contestants = []
    for name, shown in zip(options.models, _names(options.models), strict=True):
        path = locate(name)
        model = load_any(name, device if engine is None else engine.device, options.threads)
        again = partial(load_path, path) if device.type == "cpu" else None
        contestants.append(
            Contestant(name=shown, model=model, file_bytes=file_bytes(path), load=again, storage=storage_of(path))
        )
    found = compare(
        contestants,
        dataset,
        protocols,
        reference=load_any(options.reference, device, options.threads) if options.reference else None,
        detections=options.detections,
        images=options.images,
        image_size=options.image_size,
        limit=options.limit,
        seed=options.seed,
        measure=not options.no_measure and (engine is None or engine.is_main),
        threads=options.threads,
        everything=everything_options(options),
        out=out,
        overwrite=options.overwrite,
        engine=engine,
    )
    for evaluation in found.rows[0].evaluations.values():
        tell_skipped(evaluation.skipped)
        break
    if engine is not None and not engine.is_main:
        return
    content = report.comparison_json(found)
    written = ""
    if out is not None:
        write_json(out / "comparison.json", content)
        with new_file(out / "comparison.md") as temporary:
            temporary.write_text(report.markdown(found), encoding="utf-8")
        if not options.no_measure and found.rows[0].evaluations:
            report.write_scatter(found, out / "comparison.png")
        written = f"\n\n{options.out}: comparison.json, comparison.md, comparison.png, and each model's results"
    lines = [columns(report.comparison_rows(found)), "", *report.difference_lines(found), ""]
    lines += [f"protocol: {evaluation.protocol}" for evaluation in found.rows[0].evaluations.values()]
    show(options, content, "\n".join(lines) + written)


def _claim(folder: Path) -> Path:
    """A new folder for a comparison, or that of an earlier one, which is known by a file of ours."""
    mark = folder / ".comparison"
    if not mark.is_file():
        check_output(folder, frozenset())
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return folder


def _names(models: list[str]) -> list[str]:
    """What to call models: the last part of their path, or as much of it as tells them apart."""
    parts = [Path(model).parts for model in models]
    depth = 1
    while True:
        names = [model if model in ENTRIES else "/".join(p[-depth:]) for model, p in zip(models, parts, strict=True)]
        if len(set(names)) == len(names) or depth >= max(len(p) for p in parts):
            return names
        depth += 1
