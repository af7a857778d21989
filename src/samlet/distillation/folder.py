"""A distillation from photographs to a folder: labels where there are none, the student, its figures, its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from samlet.checkpoints import Store, native
from samlet.checkpoints.storage import check_store
from samlet.data.datasets import Dataset, open_dataset
from samlet.distillation import report
from samlet.distillation.config import DistillConfig
from samlet.distillation.fresh import OWN_INITIALISATION, fresh_student
from samlet.distillation.keywords import DistillKeywords
from samlet.distillation.pipeline import DistillRun, run_distillation
from samlet.inference.segmenter import AnyModel
from samlet.labelling.folder import label
from samlet.labelling.workers import all_cores
from samlet.models import PromptableModel, Sam
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.settings import config_of
from samlet.training.budget import Clock
from samlet.zoo import load_weights, model_or_name, named_weights

WRITTEN = "the student, report.md, comparison.png, losses.png, run/"
_TOLD = 10  # photographs named that could not be used


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How photographs without masks are labelled.

    Attributes:
        labeller: whose masks they get; the teacher's if None.
        name: what to call it.
        pred_iou_thresh: see `samlet.label`.
        stability_score_thresh: see `samlet.label`.
        limit: only the first so many photographs.
    """

    labeller: AnyModel | None = None
    name: str = "the teacher"
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """What stands in the folder now.

    Attributes:
        run: what was done.
        content: its figures as JSON, under the names of the command line's contract.
    """

    run: DistillRun
    content: dict[str, Any]


def distill_into(
    out: Path,
    teacher: Sam | str | Path,
    student: Sam | str | Path,
    dataset: Dataset,
    config: DistillConfig,
    *,
    labelling: Labelling | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    clock: Clock | None = None,
    store: Store = "float32",
) -> Distilled | None:
    """Distil into a folder, or continue the unfinished run there; None in any process but the main one.

    Args:
        out: a new folder, or that of an unfinished run.
        teacher: the model to learn from, or its name or path.
        student: the model to begin from, or its name or path; `tiny_vit` for a TinyViT-5M from scratch.
        dataset: photographs; without masks they are labelled first, into `OUT-labels`, to look at and correct.
        config: settings.
        labelling: how; by the teacher if None.
        device: to compute on, where models are named.
        overwrite: replace what an earlier run wrote; begin again where an unfinished run has other settings.
        clock: when the time of a run by `minutes` began; now if None.
        store: how the student's weights are stored.

    Raises:
        InputError: a setting, model, folder or photographs that cannot work, or another process works in the folder.
        SamletError: training failed; the last good checkpoint is in the folder.
    """
    check_store(store)
    folder = RunFolder.claim(out, overwrite)
    engine = DistributedContext(teacher.device if isinstance(teacher, Sam) else device, config.precision)
    master, name = named_weights(teacher, engine.device, "teacher")
    if student == OWN_INITIALISATION:
        pupil, pupil_name = fresh_student(master, config.seed), "TinyViT-5M from scratch"
    else:
        pupil, pupil_name = named_weights(student, engine.device, "student")
    with folder.locked(engine.is_main):
        labelled_by = None
        if not dataset.annotated:
            labelled_by = (labelling or Labelling()).name
            dataset = _labelled(dataset, folder.out, master, labelling or Labelling(), overwrite, engine)
        made = run_distillation(
            master, pupil, dataset, config, workspace=folder, engine=engine, overwrite=overwrite, clock=clock
        )
        if not engine.is_main:
            return None
        origin = report.provenance(made, name, pupil_name)
        # First the model: whatever comes after, it is safe.
        native.write(made.sam, folder.out, origin, overwrite=True, run_folder=True, store=store)
        reasons = list(made.skipped.values())
        for reason in reasons[:_TOLD]:
            say(f"skipped: {reason}")
        if len(reasons) > _TOLD:
            say(f"and {len(reasons) - _TOLD} more, which report.md names")
        say("training is over; drawing the report's pictures")
        content = report.to_json(made)
        native.write_provenance(folder.out, {**origin, "figures": content})
        report.write(made, folder.out, labelled_by)
        folder.finish()
    made.sam.provenance = {**origin, "figures": content}
    made.sam.result = report.result(made, labelled_by, folder.out)
    return Distilled(run=made, content=content)


def _labelled(
    dataset: Dataset, out: Path, teacher: Sam, how: Labelling, overwrite: bool, engine: DistributedContext
) -> Dataset:
    """Photographs without masks, with those of a model."""
    folder = out.with_name(f"{out.name}-labels")
    labeller = how.labeller or teacher
    if engine.is_main:
        say(
            f"{dataset.path} has no masks; {how.name} makes pseudo-labels, which stand in for true masks, "
            f"into {folder}; figures on photographs held out are agreement with them, not accuracy"
        )
        made = label(
            labeller,
            dataset.path,
            folder,
            pred_iou_thresh=how.pred_iou_thresh,
            stability_score_thresh=how.stability_score_thresh,
            overwrite=overwrite,
            limit=how.limit,
            workers=all_cores(labeller),
        )
        for name, reason in made.failed.items():
            say(f"{name} could not be labelled: {reason}")
    engine.barrier()
    return open_dataset(folder, dataset.path)


def distill(
    teacher: PromptableModel | str | Path,
    student: PromptableModel | str | Path,
    dataset: Dataset | str | Path,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    store: Store = "float32",
    **settings: Unpack[DistillKeywords],
) -> Sam:
    """Train a student to answer as its teacher does, and as the true masks are (TinySAM, AAAI 2025).

    `samlet distill` does the same.

    Args:
        teacher: the model to learn from, which is left as it is, or its name or path.
        student: the model to begin from, which is left as it is, or its name or path.
        dataset: photographs with masks, from `open_dataset`, or where they are. Some are held out and never trained on.
        out: a new folder for the student, its figures and pictures, or that of a run that was stopped, which goes on;
            nothing is written if None. Photographs without masks need it, for their labels.
        overwrite: replace what an earlier run wrote in `out`.
        store: how the weights are stored in `out`: float32, fp16 or int8.
        settings: fields of `DistillConfig`.

    Returns:
        The distilled student; its `result` has figures and pictures.

    Raises:
        InputError: a setting, model or dataset that cannot work.
        SamletError: training failed.
    """
    config = config_of(DistillConfig, settings, "distill")
    data = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    master, pupil = model_or_name(teacher, "the teacher"), model_or_name(student, "the student")
    if out is None:
        cpu = torch.device("cpu")
        run = run_distillation(named_weights(master, cpu, "")[0], named_weights(pupil, cpu, "")[0], data, config)
        run.sam.result = report.result(run)
        return run.sam
    made = distill_into(Path(out), master, pupil, data, config, overwrite=overwrite, store=store)
    return load_weights(out) if made is None else made.run.sam
