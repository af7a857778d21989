"""A distillation run: full-stage distillation (TinySAM, AAAI 2025, section 3.1) with hard prompts and hard masks."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from samlet.data.datasets import Dataset
from samlet.distillation.calibration import Calibration, calibrate
from samlet.distillation.config import WEIGHTS, DistillConfig
from samlet.distillation.examples import Example, Examples, Preparation, TeacherPhotographs
from samlet.distillation.layer_decay import layer_rates
from samlet.distillation.objective import SECONDS, Batch, FullStage
from samlet.distillation.timing import Trial, steps_within
from samlet.distillation.validation import PROMPTS, Validation
from samlet.errors import InputError
from samlet.models import Sam
from samlet.models.config import trained_at
from samlet.models.float_weights import check_float_weights
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog
from samlet.runs.reproducible import reproducible
from samlet.training.batches import train_val_split
from samlet.training.budget import Clock, counted
from samlet.training.embeddings import EmbeddingCache
from samlet.training.loop import Stage, StageResult, train

STAGE = "distillation"
_ENDS = 0.1  # share of the steps whose mean is a term's first, or last, value


@dataclass(frozen=True, kw_only=True)
class DistillRun:
    """What a distillation run made.

    Attributes:
        teacher: the model that was learned from.
        origin: the student as it began.
        sam: the student as it is now.
        config: the settings.
        image_size: side of the student's input, pixels.
        trained_on: number of photographs to train on.
        held_out: photographs never trained on, by their number in the dataset.
        dataset: where they are from.
        skipped: photographs that could not be used, with the reason.
        stage: what the loop did.
        start: what validation measured before the first step.
        parts: share of the time of each part of the work.
        log: of every step.
        processes: that shared the work.
        seconds: of the run; of sessions that were stopped, what their kept steps took.
        minutes: the budget of time that its steps follow from; None where they were given.
        calibration: what was scaled after training; None if nothing was.
    """

    teacher: Sam
    origin: Sam
    sam: Sam
    config: DistillConfig
    image_size: int
    trained_on: int
    held_out: list[int]
    dataset: Dataset
    skipped: dict[Path, str]
    stage: StageResult
    start: dict[str, float]
    parts: dict[str, float]
    log: RunLog
    processes: int
    seconds: float
    minutes: float | None = None
    calibration: Calibration | None = None

    @property
    def images_per_second(self) -> float:
        """Of the training steps."""
        return self.stage.images / self.stage.seconds

    @property
    def losses(self) -> dict[str, dict[str, float]]:
        """First and last value of the loss and each of its terms: means over the first and last tenth of the steps."""
        found = {}
        for name in ("loss", *WEIGHTS):
            values = self.log.values(STAGE, name)[1]
            if values:
                count = max(1, round(_ENDS * len(values)))
                found[name] = {"first": sum(values[:count]) / count, "last": sum(values[-count:]) / count}
        return found


@reproducible()
def run_distillation(
    teacher: Sam,
    student: Sam,
    dataset: Dataset,
    config: DistillConfig,
    *,
    workspace: RunFolder | None = None,
    engine: DistributedContext | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> DistillRun:
    """Distil a student; see `distill`. Returns everything a report needs.

    Args:
        teacher: the model to learn from; it is left as it is.
        student: the model to begin from; it is left as it is.
        dataset: photographs with masks.
        config: settings.
        workspace: where checkpoints and logs go; an unfinished run there is continued.
        engine: processes and device; one process on the teacher's device if None.
        overwrite: begin again where an unfinished run in the workspace has other settings.
        clock: when the time of a run by `minutes` began; now if None.

    Raises:
        InputError: a setting, model or dataset that cannot work.
        SamletError: training failed; the last good checkpoint is in the workspace.
    """
    begin = time.perf_counter()
    clock, minutes = clock or Clock(), config.minutes
    engine = engine or DistributedContext(teacher.device, config.precision)
    config = replace(config, precision=engine.precision)
    sizes = check(teacher, student, dataset, config)
    trained_on, held_out = train_val_split([int(index) for index in dataset.order], config.seed)
    if workspace is not None and engine.is_main:
        workspace.check_space(sum(p.numel() for p in student.parameters()))
        workspace.begin(_recipe(teacher, student, dataset, config, sizes), overwrite)
    engine.barrier()

    teacher = copy.deepcopy(teacher).to(engine.device).eval().requires_grad_(False)
    made = copy.deepcopy(student).to(engine.device).eval().requires_grad_(False)
    made.image_encoder.requires_grad_(True)
    made.mask_decoder.requires_grad_(config.train == "all" and config.decodes)
    prepare, prepare_teacher = Preparation.of(made, sizes[0]), Preparation.of(teacher, sizes[1])
    examples = Examples(
        dataset, trained_on, prepare, prepare_teacher, config.prompts_per_image, config.seed, config.augment
    )
    measured_on = Examples(dataset, held_out, prepare, prepare_teacher, PROMPTS, config.seed)
    objective = FullStage(made, teacher, config, sizes)
    validation = Validation(made, teacher, config, sizes, measured_on, engine)
    before = time.perf_counter()
    start = _measure_start(validation, workspace, engine, measured_on)
    if minutes is not None:
        trial = Trial(objective, _step_loss, examples, config, engine, time.perf_counter() - before, len(held_out))
        config = _counted(minutes, trial, clock, workspace)
    steps = config.total_steps(len(trained_on))
    with _cached(examples, teacher, prepare_teacher, config, workspace, steps * config.batch_size, engine):
        result = train(
            engine,
            objective,
            _step_loss,
            examples,
            config.loop(steps, len(trained_on)),
            Stage(
                name=STAGE,
                checkpoints=workspace.checkpoints(STAGE) if workspace is not None else None,
                state={"start": start},
            ),
            log := RunLog(workspace.folder if workspace is not None and engine.is_main else None),
            validation,
            layer_rates(made, config.layer_decay, "student."),
        )
    log.close()
    seen = [sample.image() for sample in examples.visited(config.calibrate)]
    calibration = calibrate(made.eval(), teacher, seen, sizes) if seen else None
    return DistillRun(
        teacher=teacher,
        origin=student,
        sam=trained_at(made.requires_grad_(False), sizes[0]),
        config=config,
        image_size=sizes[0],
        trained_on=len(trained_on),
        held_out=held_out,
        dataset=dataset,
        skipped={**examples.skipped, **measured_on.skipped},
        stage=result,
        start=start,
        parts=_shares(log, result, engine.world),
        log=log,
        processes=engine.world,
        seconds=time.perf_counter() - begin + result.earlier,
        minutes=minutes,
        calibration=calibration,
    )


def _counted(minutes: float, trial: Trial, clock: Clock, workspace: RunFolder | None) -> DistillConfig:
    """The settings with the number of steps that the budget of time allows; a continued run keeps its number."""
    config, engine = trial.config, trial.engine
    noted = counted(workspace, engine, minutes, lambda: steps_within(minutes, clock, trial))
    return config.within(noted.steps, noted.steps, len(trial.examples.indices), noted.validations)


def _step_loss(model: nn.Module, batch: list[Example], images: Tensor, _: int) -> tuple[Tensor, dict[str, Tensor]]:
    loss, terms = model(images, Batch(batch))
    return loss, terms


def check(teacher: Sam, student: Sam, dataset: Dataset, config: DistillConfig) -> tuple[int, int]:
    """Sides of the student's and of the teacher's input, after a look at what cannot work.

    Raises:
        InputError: models that do not fit together, or a dataset without masks.
    """
    if not dataset.annotated:
        raise InputError(
            f"{dataset.path} has no masks to learn from; write some with `samlet label`, or give an SA-1B folder or a "
            "COCO JSON"
        )
    for name, model in (("teacher", teacher), ("student", student)):
        check_float_weights(model, f"the {name}", "it cannot be distilled", "distil first, then quantize")
    for what, (a, b) in {
        "channels of the embedding": tuple(m.config.encoder.out_channels for m in (student, teacher)),
        "masks of a prompt": tuple(1 + m.config.decoder.num_multimask_outputs for m in (student, teacher)),
        "kind of decoder": tuple(m.config.decoder.style for m in (student, teacher)),
        "way to resize images": tuple(m.config.resize for m in (student, teacher)),
    }.items():
        if a != b:
            raise InputError(f"the student's {what}: {a}, the teacher's: {b}; expected the same to compare them")
    size = student.check_image_size(config.image_size)
    return size, teacher.check_image_size(config.teacher_size or size)


def _measure_start(
    validation: Validation, workspace: RunFolder | None, engine: DistributedContext, measured_on: Examples
) -> dict[str, float]:
    """What validation measures before the first step; a continued run has it in its checkpoint."""
    saved = workspace.checkpoints(STAGE).newest() if workspace is not None and engine.is_main else None
    known: dict[str, float] | None = engine.from_main(None if saved is None else saved.state.get("start"))
    found = known or validation()
    if not found:
        reasons = next(iter(measured_on.skipped.values()), "nothing was held out")
        raise InputError(f"none of the photographs held out to measure on can be used; the first: {reasons}")
    return found


@contextlib.contextmanager
def _cached(
    examples: Examples,
    teacher: Sam,
    prepare: Preparation,
    config: DistillConfig,
    workspace: RunFolder | None,
    positions: int,
    engine: DistributedContext,
) -> Iterator[None]:
    """Let the examples know the teacher's embeddings, which are computed once."""
    if config.augment or not config.asks_teacher:
        yield
        return
    with tempfile.TemporaryDirectory() as temporary:
        own = Path(engine.from_main(temporary)) if workspace is None else workspace.folder / "teacher"
        cache = EmbeddingCache(config.cache or own, teacher.fingerprint(), prepare.image_size)
        photographs = TeacherPhotographs(examples.visited(positions), prepare)
        cache.fill(photographs, photographs.paths, teacher.encode, engine)
        examples.target = cache.find
        yield
        examples.target = lambda _: None
        engine.barrier()
        if engine.is_main:
            shutil.rmtree(own, ignore_errors=True)


def _shares(log: RunLog, stage: StageResult, processes: int) -> dict[str, float]:
    """Share of the time of each part; what is left is `backward`, the optimizer and waiting for photographs."""
    names = [name for name in log.lines[0] if name.startswith(SECONDS)] if log.lines else []
    shares = {}
    for name in names:
        values = log.values(STAGE, name)[1]
        each = sum(values) / len(values)
        shares[name.removeprefix(SECONDS)] = each * stage.images / processes / stage.seconds
    return {**shares, "backward and the rest": 1 - sum(shares.values())}


def _recipe(
    teacher: Sam, student: Sam, dataset: Dataset, config: DistillConfig, sizes: tuple[int, int]
) -> dict[str, Any]:
    """Everything that the weights depend on."""
    return {
        **config.to_dict(),
        "image_size": sizes[0],
        "teacher_size": sizes[1],
        "teacher": teacher.fingerprint(),
        "student": student.fingerprint(),
        "data": [dataset.kind, dataset.path.name],
        "photographs": hashlib.sha256(str([int(i) for i in dataset.order]).encode()).hexdigest(),
    }
