"""`samlet slim`."""

from __future__ import annotations

import argparse

from samlet.checkpoints import native
from samlet.checkpoints.writing import check_output, new_folder
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
    )
    check_output(options.out, marker="config.json", overwrite=options.overwrite)
    paths = find_images(options.images)
    teacher = load_on(options.teacher, set_up(options))
    made = slim_run(teacher, paths, config)
    for reason in made.skipped.values():
        note(f"samlet: skipped: {reason}")
    note("samlet: measuring cost and agreement with the teacher")
    figures = report.measure(made)
    with new_folder(options.out) as folder:
        native.write_into(made.sam, folder, report.provenance(made, figures, options.teacher, options.images.name))
        report.write(made, figures, folder)
    table = f"{report.table(figures)}\n\n{options.out}: the slimmed model, comparison.png, report.md"
    show(options, report.to_json(made, figures), table)
