"""A slimming run from photographs to a folder: the model, its figures, its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from samlet.checkpoints import Store, native
from samlet.checkpoints.storage import check_store
from samlet.data.datasets import Dataset
from samlet.data.folders import data_name, find_images
from samlet.models import PromptableModel, Sam
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.slimming import report
from samlet.slimming.config import SlimConfig
from samlet.slimming.keywords import SlimKeywords
from samlet.slimming.latencies import read_table
from samlet.slimming.pipeline import SlimRun, run_slimming
from samlet.training.budget import Clock
from samlet.zoo import load_weights, model_or_name, named_weights

WRITTEN = "the slimmed model, report.md, comparison.png, losses.png, widths.png, run/ with the logs"


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """What stands in the folder now.

    Attributes:
        run: what was done.
        figures: what was measured.
        content: the same as JSON, under the names of the command line's contract.
    """

    run: SlimRun
    figures: report.SlimFigures
    content: dict[str, Any]


def slim_into(
    out: Path,
    teacher: Sam | str | Path,
    images: str | Path | Sequence[Path],
    config: SlimConfig,
    *,
    labels: Dataset | None = None,
    student: Sam | str | Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    clock: Clock | None = None,
    store: Store = "float32",
) -> Slimmed | None:
    """Slim into a folder, or continue the unfinished run there; None in any process but the main one.

    Args:
        out: a new folder, or that of an unfinished run.
        teacher: the model, or its name or path.
        images: a folder of photographs, or their paths.
        config: settings.
        labels: photographs with masks, for the criterion `taylor`.
        student: for the stages `second` and `align`: the model to begin from, or its name or path.
        device: to compute on, where models are named.
        overwrite: replace what an earlier run wrote; begin again where an unfinished run has other settings.
        clock: when the time of a run by `minutes` began; now if None.
        store: how the slimmed model's weights are stored; what is measured is the model as it was stored.

    Raises:
        InputError: a setting, model, folder or photographs that cannot work, or another process works in the folder.
        SamletError: training failed; the last good checkpoint is in the folder.
    """
    check_store(store)
    folder = RunFolder.claim(out, overwrite)
    paths = find_images(images) if isinstance(images, str | Path) else list(images)
    engine = DistributedContext(teacher.device if isinstance(teacher, Sam) else device, config.precision)
    source, name = named_weights(teacher, engine.device, "teacher")
    begin, begin_name = (None, None) if student is None else named_weights(student, engine.device, "student")
    if config.latency_table is not None:  # before anything is written
        read_table(config.latency_table, source.image_encoder)
    with folder.locked(engine.is_main):
        made = run_slimming(
            source,
            paths,
            config,
            labels=labels,
            student=begin,
            workspace=folder,
            engine=engine,
            overwrite=overwrite,
            clock=clock or Clock(reports=True),
        )
        if not engine.is_main:
            return None
        origin = report.provenance(made, name, data_name(images), begin_name)
        # First the model: whatever comes after, it is safe.
        native.write(made.sam, folder.out, origin, overwrite=True, run_folder=True, store=store)
        if store != "float32":
            made = replace(made, sam=native.read(folder.out).to(engine.device).requires_grad_(False))
        if made.skipped:
            say(f"{len(made.skipped)} photographs could not be used:")
        for reason in made.skipped.values():
            say(f"  {reason}")
        say(f"training is over; measuring cost and agreement on {len(made.held_out)} photographs, then drawing")
        figures = report.measure(made)
        content = report.to_json(made, figures)
        native.write_provenance(folder.out, {**origin, "figures": content})
        report.write(made, figures, folder.out, data_name(images))
        folder.finish()
    made.sam.provenance = {**origin, "figures": content}
    made.sam.result = report.result(made, data_name(images), figures, folder.out)
    return Slimmed(run=made, figures=figures, content=content)


def slim(
    teacher: PromptableModel | str | Path,
    images: str | Path | Sequence[Path],
    *,
    out: str | Path | None = None,
    labels: Dataset | None = None,
    student: PromptableModel | str | Path | None = None,
    overwrite: bool = False,
    store: Store = "float32",
    ratio: float | None = None,
    macs: float | str | None = None,
    latency: float | str | None = None,
    parameters: float | str | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    image_size: int | None = None,
    seed: int = 0,
    learning_rate: float = 1e-4,
    **settings: Unpack[SlimKeywords],
) -> Sam:
    """Make the image encoder of a model smaller, with photographs and no labels (SlimSAM, NeurIPS 2024).

    Prompt encoder and mask decoder stay as they are. `samlet slim` does the same.

    Args:
        teacher: the model, which is left as it is, or its name or path.
        images: a folder of photographs, or their paths. Some are held out and never trained on.
        out: a new folder for the model, its figures and pictures, or that of a run that was stopped, which goes on;
            nothing is written if None.
        labels: photographs with masks, from `open_dataset`, for the criterion `taylor`.
        student: for the stages `second` and `align`: the model to begin from, or its name or path.
        overwrite: replace what an earlier run wrote in `out`.
        store: how the weights are stored in `out`: float32, fp16 or int8.
        ratio: share of the channels to cut, between 0 and 1; 0.5 cuts about 70 % of the multiply-accumulates, and is
            what is done if there is no budget either.
        macs: budget instead, for which the widths are searched: multiply-accumulates of the encoder, as a share of the
            teacher's such as 0.3, or an amount such as "11.5G".
        latency: likewise, seconds on this machine: a share, or an amount such as "200ms".
        parameters: likewise, weights of the encoder: a share, or an amount such as "3M".
        steps: optimizer steps in all.
        epochs: passes over the photographs instead; 40 if none of the three is given.
        minutes: time of the whole run instead; the number of steps follows from the first batches.
        image_size: side of the encoder's input while slimming, pixels; the model's own if None.
        seed: of noise, order and views; the same seed on the same CPU gives the same weights.
        learning_rate: of Adam, at its peak.
        settings: any other field of `SlimConfig`.

    Returns:
        The slimmed model; its `result` has figures and pictures.

    Raises:
        InputError: a setting that cannot work, or photographs that cannot be used.
        SamletError: training failed.
    """
    config = SlimConfig(
        ratio=ratio,
        macs=macs,
        latency=latency,
        parameters=parameters,
        steps=steps,
        epochs=epochs,
        minutes=minutes,
        image_size=image_size,
        seed=seed,
        learning_rate=learning_rate,
        **cast("dict[str, Any]", settings),  # names may be registered from outside
    )
    master = model_or_name(teacher, "the teacher")
    begin = None if student is None else model_or_name(student, "the student")
    if out is None:
        begin = None if begin is None else named_weights(begin, torch.device("cpu"), "")[0]
        master = named_weights(master, torch.device("cpu"), "")[0]
        run = run_slimming(master, images, config, labels=labels, student=begin)
        run.sam.result = report.result(run, data_name(images))
        return run.sam
    made = slim_into(Path(out), master, images, config, labels=labels, student=begin, overwrite=overwrite, store=store)
    return load_weights(out) if made is None else made.run.sam
