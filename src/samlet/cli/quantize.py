"""`samlet quantize`."""

from __future__ import annotations

import argparse
from pathlib import Path

from samlet.checkpoints import native
from samlet.cli.common import load_on, note, set_up, show
from samlet.data.images import find_images
from samlet.io.writing import MODEL_FILES, check_output
from samlet.quantization import QuantConfig, report
from samlet.quantization import run as quantize_run
from samlet.runs.folder import RunFolder


def run(options: argparse.Namespace) -> None:
    """Quantize one model into a new folder, or continue where an earlier session ended."""
    config = QuantConfig(
        weights=options.weights,
        activations=options.activations,
        metric=options.metric,
        scheme=options.scheme,
        mixed=options.mixed,
        weight_group=options.weight_group,
        calibration_images=options.calibration_images,
        prompts=options.prompts,
        image_size=options.image_size,
        candidates=options.candidates,
        rounds=options.rounds,
        keep_float=tuple(options.keep_float),
        seed=options.seed,
    )
    workspace = RunFolder(options.out.expanduser().resolve())
    goes_on = workspace.unfinished
    out = check_output(options.out, MODEL_FILES, options.overwrite or goes_on, run_folder=True)
    if workspace.finished and not options.overwrite:
        check_output(out, frozenset())  # says what is there
    paths = find_images(options.images)
    sam = load_on(options.model, set_up(options))
    if goes_on:
        note(f"samlet: {out} holds an unfinished run; continuing it")
    with workspace.locked():
        made = quantize_run(sam, paths, config, workspace, overwrite=options.overwrite)
        for reason in made.skipped.values():
            note(f"samlet: not calibrated on: {reason}")
        origin = report.provenance(made, Path(options.model).name, options.images.resolve().name)
        native.write(made.sam, out, origin, overwrite=True, run_folder=True)
        report.write(made, out)
        workspace.finish()
    for layer in made.layers:
        if layer.out_of_line:
            note(f"samlet: out of line: {layer.name}, {layer.sqnr:.1f} dB; --keep-float {layer.name} leaves it float")
    written = "the quantized model, report.md, errors.png, comparison.png"
    show(options, report.to_json(made), f"{report.table(made)}\n\n{out}: {written}")
