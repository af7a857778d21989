"""`samlet slim`."""

from __future__ import annotations

import argparse
from pathlib import Path

from samlet.checkpoints import native
from samlet.checkpoints.writing import MODEL_FILES, check_output
from samlet.cli.common import load_on, note, set_up, show
from samlet.data.datasets import open_dataset
from samlet.data.images import find_images
from samlet.slimming import SlimConfig, Workspace, report
from samlet.slimming import run as slim_run
from samlet.training.engine import Engine


def run(options: argparse.Namespace) -> None:
    """Slim one model into a new folder, or continue where an earlier session ended."""
    config = SlimConfig(
        ratio=options.ratio,
        steps=options.steps,
        epochs=options.epochs,
        image_size=options.image_size,
        seed=options.seed,
        procedure=options.procedure,
        stage=options.stage,
        importance=options.importance,
        accumulation=options.accumulation,
        noises=options.noises,
        scoring_images=options.scoring_images,
        selection="uniform" if options.selection == "local" else options.selection,
        whole_heads=None if options.heads == "auto" else options.heads == "whole",
        recovery_images=options.recovery_images,
        decoder_aware=options.decoder_aware,
        loss=options.loss,
        bottleneck_alpha=options.bottleneck_alpha,
        embedding_alpha=options.embedding_alpha,
        alpha_epochs=options.alpha_epochs,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        patience=options.patience,
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        clip=options.clip,
        augment=not options.no_augment,
        cache=options.cache,
        precision=options.precision,
        checkpoint_every=options.checkpoint_every,
    )
    workspace = Workspace(options.out.expanduser().resolve())
    goes_on = workspace.unfinished
    out = check_output(options.out, MODEL_FILES, options.overwrite or goes_on, run_folder=True)
    if workspace.finished and not options.overwrite:
        check_output(out, frozenset())  # says what is there
    paths = find_images(options.images)
    labels = None if options.labels is None else open_dataset(options.labels, _beside(options))
    set_up(options)
    engine = Engine(options.device, config.precision)
    teacher = load_on(options.teacher, engine.device)
    student = None if options.student is None else load_on(options.student, engine.device)
    if goes_on and engine.is_main:
        note(f"samlet: {out} holds an unfinished run; continuing it")
    with workspace.locked(engine.is_main):
        made = slim_run(
            teacher,
            paths,
            config,
            labels=labels,
            student=student,
            workspace=workspace,
            engine=engine,
            overwrite=options.overwrite,
        )
        if not engine.is_main:
            return
        began_with = Path(options.student).name if options.student else None
        origin = report.provenance(made, Path(options.teacher).name, options.images.resolve().name, began_with)
        # First the model: whatever comes after, it is safe.
        native.write(made.sam, out, origin, overwrite=True, run_folder=True)
        if made.skipped:
            note(f"samlet: {len(made.skipped)} photographs could not be used:")
        for reason in made.skipped.values():
            note(f"samlet:   {reason}")
        note("samlet: measuring cost and agreement with the teacher")
        figures = report.measure(made)
        found = report.to_json(made, figures)
        native.write_provenance(out, {**origin, "figures": found})
        report.write(made, figures, out)
        workspace.finish()
    written = "the slimmed model, report.md, comparison.png, losses.png, widths.png, run/ with the logs"
    show(options, found, f"{report.table(figures)}\n\n{options.out}: {written}")


def _beside(options: argparse.Namespace) -> Path | None:
    """Where the labelled photographs are: beside their labels, or among those to slim with."""
    folder: Path = options.labels
    if folder.is_dir() and any(folder.glob("*.json")) and not any(p.suffix != ".json" for p in folder.iterdir()):
        return options.images
    return None
