"""`samlet slim`."""

from __future__ import annotations

import argparse
from pathlib import Path

from samlet.checkpoints import native
from samlet.checkpoints.writing import MODEL_FILES, check_output
from samlet.cli.common import load_on, note, set_up, show
from samlet.data.images import find_images
from samlet.slimming import SlimConfig, report
from samlet.slimming import run as slim_run


def run(options: argparse.Namespace) -> None:
    """Slim one model into a new folder."""
    config = SlimConfig(
        ratio=options.ratio,
        steps=options.steps,
        epochs=options.epochs,
        image_size=options.image_size,
        seed=options.seed,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        scoring_images=options.scoring_images,
        augment=not options.no_augment,
        loss=options.loss,
    )
    out = check_output(options.out, MODEL_FILES, options.overwrite)
    paths = find_images(options.images)
    teacher = load_on(options.teacher, set_up(options))
    made = slim_run(teacher, paths, config)
    origin = report.provenance(made, Path(options.teacher).name, options.images.resolve().name)
    native.write(made.sam, out, origin, options.overwrite)  # first the model: whatever comes after, it is safe
    for reason in made.skipped.values():
        note(f"samlet: skipped: {reason}")
    note("samlet: measuring cost and agreement with the teacher")
    figures = report.measure(made)
    native.write_provenance(out, {**origin, "figures": report.to_json(made, figures)})
    report.write(made, figures, out)
    table = f"{report.table(figures)}\n\n{options.out}: the slimmed model, comparison.png, report.md"
    show(options, report.to_json(made, figures), table)
