"""`samlet distill`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from samlet.checkpoints import native
from samlet.cli.common import load_any, load_on, note, set_up, show, tell_left_out
from samlet.data.datasets import Dataset, open_dataset
from samlet.distillation import DistillConfig, fresh_student, report
from samlet.distillation import run as distill_run
from samlet.errors import InputError
from samlet.io.writing import MODEL_FILES, check_output
from samlet.labelling.folder import label
from samlet.labelling.workers import all_cores
from samlet.models import Sam
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.training.budget import Clock

OWN_INITIALISATION = "tiny_vit"
_TOLD = 10  # photographs named that could not be used


def settings(options: argparse.Namespace) -> DistillConfig:
    """The settings that the options say."""
    return DistillConfig(
        steps=options.steps,
        epochs=options.epochs,
        minutes=options.minutes,
        image_size=options.image_size,
        teacher_size=options.teacher_size,
        seed=options.seed,
        train=options.train,
        embedding=options.embedding,
        token=options.token,
        output=options.output,
        mask=options.mask,
        iou=options.iou,
        hard_masks=not options.no_hard_masks,
        rounds=options.rounds,
        clicks=options.clicks,
        prompts=options.prompts,
        boxes=options.boxes,
        box_noise=options.box_noise,
        learning_rate=options.learning_rate,
        layer_decay=options.layer_decay,
        schedule=options.schedule,
        patience=options.patience,
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        clip=options.clip,
        augment=options.augment,
        cache=options.cache,
        average=options.average,
        precision=options.precision,
        checkpoint_every=options.checkpoint_every,
    )


def run(options: argparse.Namespace) -> None:
    """Distil one student into a new folder, or continue where an earlier session ended."""
    found = execute(options)
    if found is not None:
        show(options, *found)


def check(options: argparse.Namespace) -> tuple[DistillConfig, Dataset]:
    """The settings and the photographs that the options say.

    Raises:
        InputError: one of them cannot work.
    """
    if options.limit is not None and options.limit < 2:
        raise InputError(f"--limit is {options.limit}; expected at least 2: some to train on, some to measure on")
    return settings(options), open_dataset(options.data, options.images).head(options.limit)


def execute(options: argparse.Namespace) -> tuple[dict[str, Any], str] | None:
    """As `run`, but the JSON content and the text are returned; None in any process but the main one."""
    config, dataset = check(options)
    clock = Clock(began=options.began, reports=True)
    tell_left_out(dataset)
    out = claim(options.out, options.overwrite)
    set_up(options)
    engine = DistributedContext(options.device, config.precision)
    teacher = load_on(options.teacher, engine.device)
    own = options.student == OWN_INITIALISATION
    student = fresh_student(teacher, options.seed) if own else load_on(options.student, engine.device)
    names = Path(options.teacher).name, "TinyViT-5M from scratch" if own else Path(options.student).name
    workspace = RunFolder(out)
    with workspace.locked(engine.is_main):
        if not dataset.annotated:
            dataset = labelled(dataset, out, teacher, options, engine)
        return distil_into(out, teacher, student, dataset, config, names, engine, options.overwrite, clock)


def claim(folder: Path, overwrite: bool) -> Path:
    """A new folder for a model, or one whose unfinished run can go on."""
    workspace = RunFolder(folder.expanduser().resolve())
    goes_on = workspace.unfinished
    out = check_output(folder, MODEL_FILES, overwrite or goes_on, run_folder=True)
    if workspace.finished and not overwrite:
        check_output(out, frozenset())  # says what is there
    if goes_on:
        note(f"samlet: {out} holds an unfinished run; continuing it")
    return out


def labelled(
    dataset: Dataset, out: Path, teacher: Sam, options: argparse.Namespace, engine: DistributedContext
) -> Dataset:
    """Photographs without masks, with those of a model, which are kept in `OUT-labels` to look at and correct."""
    folder = out.with_name(f"{out.name}-labels")
    labeller = teacher if options.labeller is None else load_any(options.labeller, engine.device, options.threads)
    if engine.is_main:
        note(f"samlet: {dataset.path} has no masks; {options.labeller or 'the teacher'} labels it into {folder}")
        made = label(
            labeller,
            dataset.path,
            folder,
            pred_iou_thresh=options.pred_iou_thresh,
            stability_score_thresh=options.stability_score_thresh,
            overwrite=options.overwrite,
            limit=options.limit,
            workers=all_cores(labeller),
        )
        for name, reason in made.failed.items():
            note(f"samlet: {name} could not be labelled: {reason}")
    engine.barrier()
    return open_dataset(folder, dataset.path)


def distil_into(
    out: Path,
    teacher: Sam,
    student: Sam,
    dataset: Dataset,
    config: DistillConfig,
    names: tuple[str, str],
    engine: DistributedContext,
    overwrite: bool,
    clock: Clock,
) -> tuple[dict[str, Any], str] | None:
    """Distil and write model and report; JSON content and text, or None in any process but the main one."""
    workspace = RunFolder(out)
    made = distill_run(
        teacher, student, dataset, config, workspace=workspace, engine=engine, overwrite=overwrite, clock=clock
    )
    if not engine.is_main:
        return None
    origin = report.provenance(made, *names)
    native.write(made.sam, out, origin, overwrite=True, run_folder=True)  # first: whatever comes after, it is safe
    reasons = list(made.skipped.values())
    for reason in reasons[:_TOLD]:
        note(f"samlet: skipped: {reason}")
    if len(reasons) > _TOLD:
        note(f"samlet: and {len(reasons) - _TOLD} more, which report.md names")
    figures = report.to_json(made)
    native.write_provenance(out, {**origin, "figures": figures})
    report.write(made, out)
    workspace.finish()
    return figures, f"{report.table(made)}\n\n{out}: the student, report.md, comparison.png, losses.png, run/"
