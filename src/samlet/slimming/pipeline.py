"""The procedures of slimming (SlimSAM, section 3.2): alternate and in one step, whole or by stages, resumable."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.data.datasets import Dataset
from samlet.data.images import find_images, is_readable
from samlet.errors import InputError
from samlet.models import (
    Embedding,
    ImageEncoder,
    Sam,
    SamConfig,
    build_encoder,
    stacked,
)
from samlet.models.quantized import is_quantized
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog, progress_bar
from samlet.runs.reproducible import reproducible
from samlet.slimming.allocation import Allocation
from samlet.slimming.alpha import Alpha
from samlet.slimming.config import SlimConfig
from samlet.slimming.losses import BottleneckAligning, EmbeddingAligning, Objective, embedding_error
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.scoring import Scorer
from samlet.slimming.selection import Kept, check_ratio
from samlet.slimming.sizing import allocate
from samlet.slimming.surgery import cut_encoder, widths_like, with_encoder
from samlet.slimming.timing import CutTimes, encoder_seconds, provisional, steps_within
from samlet.slimming.validation import Validation
from samlet.slimming.widths import Widths
from samlet.training.batches import FixedViews, ImageDataset, Photograph, train_val_split
from samlet.training.budget import Clock, counted
from samlet.training.budget import Plan as TimePlan
from samlet.training.embeddings import EmbeddingCache
from samlet.training.loop import Stage, StageResult, StepLoss, seconds_of_step, shares, train

_CHECK_IMAGES = 2
_REFITTING, _REFITTING_SHARE = "refitting", 0.2
_PASSES = 5  # of the uncut encoder, that refitting on one picture takes about as long as
_MANY = 1000  # steps of a stage whose first and last are timed


@dataclass(frozen=True, kw_only=True)
class SlimRun:
    """What a slimming run made.

    Attributes:
        teacher: the model whose features were aligned with.
        origin: the model that it began from: the teacher, or the student of a stage alone.
        pruned: the final widths with the weights before any aligning or recovery.
        sam: the slimmed model.
        kept: the channels that stayed, by group.
        config: the settings.
        image_size: side of the encoder's input while slimming, pixels.
        trained_on: photographs that the aligning stages saw.
        held_out: photographs never trained or scored on.
        skipped: photographs that could not be used, with the reason.
        stages: the aligning stages.
        log: of every step.
        refitted_on: pictures that layers were refitted on after each cut.
        processes: that shared the work.
        seconds: of the run, in all its sessions.
        minutes: the budget of time that its steps follow from; None where they were given.
        allocation: the widths that were searched for a budget of cost; None where a ratio was given.
    """

    teacher: Sam
    origin: Sam
    pruned: Sam
    sam: Sam
    kept: Kept
    config: SlimConfig
    image_size: int
    trained_on: list[Path]
    held_out: list[Path]
    skipped: dict[Path, str]
    stages: dict[str, StageResult]
    log: RunLog
    refitted_on: int
    processes: int
    seconds: float
    minutes: float | None = None
    allocation: Allocation | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return sum(len(stage.losses) for stage in self.stages.values())

    @property
    def images_per_second(self) -> float:
        """Of the aligning stages."""
        images, seconds = (sum(getattr(s, name) for s in self.stages.values()) for name in ("images", "seconds"))
        return images / seconds if images else 0.0


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One stage: what is cut, then how it is aligned."""

    name: str
    cut: tuple[str, ...]
    objective: type[Objective]
    alpha: Alpha
    steps: int
    first_step: int = 0
    needs_middle: bool = False


def _plans(config: SlimConfig, images: int) -> list[_Plan]:
    total = config.total_steps(images)
    if config.stage == "align":
        off = config.alpha("off", images)
        return [_Plan(name="aligning", cut=(), objective=EmbeddingAligning, alpha=off, steps=total)]
    if config.procedure == "one-step":
        both = ("embedding", "bottleneck")
        off = config.alpha("off", images)
        return [_Plan(name="aligning", cut=both, objective=EmbeddingAligning, alpha=off, steps=total)]
    half = total // 2 if config.stage == "all" else total
    first = _Plan(
        name="bottleneck aligning",
        cut=("embedding",),
        objective=BottleneckAligning,
        alpha=config.alpha(config.bottleneck_alpha, images),
        steps=half,
    )
    second = _Plan(
        name="embedding aligning",
        cut=("bottleneck",),
        objective=EmbeddingAligning,
        alpha=config.alpha(config.embedding_alpha, images),
        steps=half,
        first_step=half,
        needs_middle=True,
    )
    return {"all": [first, second], "first": [first], "second": [second]}[config.stage]


@dataclass(kw_only=True)
class _Run:
    """What the stages of one run share."""

    teacher: Sam
    config: SlimConfig
    photographs: ImageDataset
    labels: Dataset | None
    engine: DistributedContext
    workspace: RunFolder | None
    log: RunLog
    validation: Validation
    cache: EmbeddingCache | None = None
    kept: Kept = field(default_factory=dict)
    allocation: Allocation | None = None
    widths: Widths | None = None
    """Channels that stay, where they are known beforehand."""
    begun: tuple[Kept, ImageEncoder] | None = None
    """The first cut, where it was made before the steps were counted."""

    @property
    def recovery_views(self) -> int:
        """How many pictures layers are refitted on."""
        return self.config.recovery_views(self.photographs.image_size, len(self.photographs.paths))

    def stage(self, plan: _Plan, before: ImageEncoder) -> tuple[ImageEncoder, StageResult]:
        """Cut, reconstruct and align one encoder; continue where a checkpoint says so."""
        config, engine = self.config, self.engine
        checkpoints = self.workspace.checkpoints(plan.name) if self.workspace is not None else None
        saved = checkpoints.newest() if checkpoints is not None and engine.is_main else None
        state: dict[str, Any] | None = engine.from_main(None if saved is None else saved.state)
        if state is None:
            kept, student = self.begun or self._cut(plan, before)[:2]
            self.begun = None
        else:
            kept = {name: torch.tensor(channels) for name, channels in state["kept"].items()}
            student = build_encoder(SamConfig.from_dict(state["model"]).encoder).to(engine.device)
        self.kept |= kept
        objective, loss = self._objective(plan, student.requires_grad_(True), before)
        model_config = replace(self.teacher.config, encoder=student.config)
        result = train(
            engine,
            objective,
            loss,
            self.photographs,
            config.loop(plan.steps, len(self.photographs.paths)),
            Stage(
                name=plan.name,
                first_step=plan.first_step,
                checkpoints=checkpoints,
                state={
                    "kept": {name: channels.tolist() for name, channels in kept.items()},
                    "model": model_config.to_dict(),
                },
            ),
            self.log,
            lambda: self.validation(student),
        )
        return student.requires_grad_(False), result

    def _objective(self, plan: _Plan, student: ImageEncoder, before: ImageEncoder) -> tuple[Objective, StepLoss]:
        """What a stage trains, and its loss."""
        middle = before if plan.needs_middle else None
        objective = plan.objective(student, self.teacher.image_encoder, middle, self.config.loss)

        def loss(model: nn.Module, batch: list[Photograph], images: Tensor, step: int) -> Tensor:
            return model(images, plan.alpha(step, plan.steps), self._known_targets(batch))

        return objective, loss

    def scorer(self) -> Scorer:
        """Scores the channels of any encoder."""
        return Scorer(
            teacher=self.teacher,
            photographs=self.photographs,
            labels=self.labels,
            config=self.config,
            engine=self.engine,
        )

    def _cut(self, plan: _Plan, before: ImageEncoder) -> tuple[Kept, ImageEncoder, CutTimes]:
        if not plan.cut:
            return {}, copy.deepcopy(before), CutTimes(scoring=0, recovery=0)
        start = time.perf_counter()
        kept = self.engine.from_main(self.scorer().choose(before, plan.cut, self.widths))
        scored = time.perf_counter()
        student = cut_encoder(before, kept).requires_grad_(False)
        if self.config.recovery_images != 0 and self.engine.is_main:
            student = self._recovered(student, before, kept)
        times = CutTimes(scoring=scored - start, recovery=time.perf_counter() - scored)
        return kept, student, times

    def count_steps(self, minutes: float, clock: Clock, before: ImageEncoder) -> TimePlan:
        """Cut for the first stage, time every part of the work, and say how many steps fit."""
        images = len(self.photographs.paths)
        plans = _plans(replace(self.config, steps=2 * _MANY, minutes=None), images)
        kept, student, first = self._cut(plans[0], before)
        self.begun = kept, student
        seconds, forward = [], [encoder_seconds(before, self.photographs, self.engine.device)]
        shape, previous = student, before
        for number, plan in enumerate(plans):
            if number:
                shape, previous = provisional(self.scorer(), student, plan.cut, self.widths), student
            trial = copy.deepcopy(shape).requires_grad_(True)
            objective, loss = self._objective(plan, trial, previous)
            loop = self.config.loop(plan.steps, images)
            together = range(shares(loop, self.engine)[1])
            batches = [(step, together) for step in (0, plan.steps - 1)]  # with all that α adds, and without
            seconds.append(seconds_of_step(self.engine, objective, loss, self.photographs, loop, batches))
            forward.append(encoder_seconds(shape.requires_grad_(False), self.photographs, self.engine.device))
        heads = self.config.cuts_heads and "bottleneck" in plans[-1].cut
        return steps_within(
            minutes,
            clock,
            first=first,
            stages=seconds,
            forward=forward,
            measure=lambda: self.validation(student),
            scorings=2 if heads else 1,
            teacher=self.teacher,
            image_size=self.photographs.image_size,
        )

    def _recovered(self, student: ImageEncoder, before: ImageEncoder, kept: Kept) -> ImageEncoder:
        """The student refitted, or as it was if that is closer to its origin on views not fitted on."""
        count = self.recovery_views
        if self.photographs.augment:  # there are views enough to check on others
            fitted, checked = (0, count), (count, count + _CHECK_IMAGES)
        else:
            fitted, checked = (_CHECK_IMAGES, count + _CHECK_IMAGES), (0, _CHECK_IMAGES)
            fitted = fitted if len(self.photographs.paths) > _CHECK_IMAGES else checked
        views = (view.image for view in self.photographs.views(*fitted))
        recovered = copy.deepcopy(student)
        with progress_bar("refitting layers", "part", len(student.segments())) as bar:
            reconstruct(recovered, before, kept, views, self.config.seed, bar.update)
        errors = [0.0, 0.0]
        with torch.no_grad():
            for image in (view.image[None].to(self.engine.device) for view in self.photographs.views(*checked)):
                target = before(image)
                for i, encoder in enumerate((student, recovered)):
                    errors[i] += float(embedding_error(encoder(image), target))
        return recovered if errors[1] < errors[0] else student

    def _known_targets(self, batch: list[Photograph]) -> Embedding | None:
        if self.cache is None:
            return None
        found = [self.cache.find(p.path if p.view is None else (p.path, p.view)) for p in batch]
        known = [embedding for embedding in found if embedding is not None]
        return stacked(known).to(self.engine.device) if len(known) == len(found) else None


@reproducible()
def run_slimming(
    teacher: Sam,
    images: str | Path | Sequence[Path],
    config: SlimConfig,
    *,
    labels: Dataset | None = None,
    student: Sam | None = None,
    workspace: RunFolder | None = None,
    engine: DistributedContext | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> SlimRun:
    """Slim a model; see `samlet.slim`. Returns everything a report needs.

    Args:
        teacher: the model; it is left as it is.
        images: a folder of photographs, or their paths.
        config: settings.
        labels: photographs with masks, for the criterion `taylor`.
        student: for the stages `second` and `align`: the model to begin from.
        workspace: where checkpoints and logs go; an unfinished run there is continued.
        engine: processes and device; one process on the teacher's device if None.
        overwrite: begin again where an unfinished run in the workspace has other settings.
        clock: when the time of a run by `minutes` began; now if None.

    Raises:
        InputError: a setting, teacher or photographs that cannot work.
        SamletError: training failed; the last good checkpoint is in the workspace.
    """
    start = time.perf_counter()
    clock = clock or Clock()
    engine, minutes = engine or DistributedContext(teacher.device, config.precision), config.minutes
    size = teacher.check_image_size(config.image_size)
    paths = find_images(images) if isinstance(images, str | Path) else list(images)
    begin_with = _check(teacher, student, labels, config)
    trained_on, held_out = train_val_split(paths, config.seed)
    if not any(is_readable(path) for path in held_out):
        raise InputError(
            f"none of the {len(held_out)} photographs held out to measure on can be read; mend {held_out[0]}"
        )
    if workspace is not None and engine.is_main:
        workspace.check_space(sum(p.numel() for p in begin_with.parameters()))
        workspace.begin(_recipe(teacher, student, paths, labels, config, size), overwrite)
    engine.barrier()

    teacher = with_encoder(teacher, copy.deepcopy(teacher.image_encoder)).to(engine.device).requires_grad_(False)
    before = copy.deepcopy(begin_with.image_encoder).to(engine.device).requires_grad_(False)
    mean, std, resize = teacher.pixel_mean.cpu(), teacher.pixel_std.cpu(), teacher.config.resize
    photographs = ImageDataset(trained_on, size, mean, std, config.seed, config.augment, resize, config.views)
    held_out_photographs = ImageDataset(held_out, size, mean, std, resize=resize)
    shared = _Run(
        teacher=teacher,
        config=config,
        photographs=photographs,
        labels=labels,
        engine=engine,
        workspace=workspace,
        log=RunLog(workspace.folder if workspace is not None and engine.is_main else None),
        validation=Validation(teacher, held_out, held_out_photographs, engine),
    )
    if config.budget is not None:
        kinds = [kind for plan in _plans(replace(config, steps=2, epochs=None, minutes=None), 1) for kind in plan.cut]
        shared.allocation = allocate(teacher, before, kinds, shared.scorer(), workspace)
        shared.widths = shared.allocation.widths
    elif config.like is not None:
        shared.widths = widths_like(before, config.like)
    if minutes is not None:
        shared.cache = _fill_cache(teacher, photographs, range(len(trained_on)), config, engine)
        shared.config = _refitting_within(minutes, shared, before)
        also = "" if shared.config is config else f" --recovery-images {shared.config.recovery_images}"
        config = shared.config = _counted(minutes, shared, before, clock, also)
    plans = _plans(config, len(trained_on))
    positions = range(
        config.batch_size * plans[0].first_step, config.batch_size * (plans[-1].first_step + plans[-1].steps)
    )
    shared.cache = shared.cache or _fill_cache(teacher, photographs, positions, config, engine)

    encoder, stages = before, {}
    for plan in plans:
        encoder, stages[plan.name] = shared.stage(plan, encoder)
    shared.log.close()
    skipped = {**photographs.skipped, **held_out_photographs.skipped}
    return SlimRun(
        teacher=teacher,
        origin=begin_with,
        pruned=with_encoder(teacher, cut_encoder(before, shared.kept)),
        sam=with_encoder(teacher, encoder),
        kept=shared.kept,
        config=config,
        image_size=size,
        trained_on=sorted({photographs.path_at(position) for position in positions}),
        held_out=held_out,
        skipped=skipped,
        stages=stages,
        log=shared.log,
        refitted_on=0 if config.stage == "align" else shared.recovery_views,
        processes=engine.world,
        seconds=time.perf_counter() - start,
        minutes=minutes,
        allocation=shared.allocation,
    )


def _refitting_within(minutes: float, shared: _Run, before: ImageEncoder) -> SlimConfig:
    """The settings with fewer pictures to refit on, where the usual number would take too much of the time."""
    config, engine, workspace = shared.config, shared.engine, shared.workspace
    if config.recovery_images is not None or config.stage == "align":
        return config
    noted = workspace.noted(_REFITTING) if workspace is not None and engine.is_main else None
    if noted is None:
        cuts = 2 if config.procedure == "alternate" and config.stage == "all" else 1
        once = _PASSES * encoder_seconds(before, shared.photographs, engine.device)
        fitting = int(_REFITTING_SHARE * 60 * minutes / (cuts * once))
        noted = min(shared.recovery_views, max(_CHECK_IMAGES, fitting))
        if workspace is not None and engine.is_main:
            workspace.note(_REFITTING, noted)
    found = int(engine.from_main(noted))
    return config if found == shared.recovery_views else replace(config, recovery_images=found)


def _counted(minutes: float, shared: _Run, before: ImageEncoder, clock: Clock, also: str) -> SlimConfig:
    """The settings with the number of steps that the budget of time allows; a continued run keeps its number."""
    config, images = shared.config, len(shared.photographs.paths)
    count = partial(shared.count_steps, minutes, clock, before)
    noted = counted(shared.workspace, shared.engine, minutes, count, also)
    stages = len(_plans(replace(config, steps=noted.steps, minutes=None), images))
    return config.within(noted.steps, noted.steps // stages, images, noted.validations)


def _check(teacher: Sam, student: Sam | None, labels: Dataset | None, config: SlimConfig) -> Sam:
    """The model to begin from, after a look at what cannot work."""
    if config.importance == "taylor" and labels is None and config.stage != "align":
        raise InputError(
            "importance taylor reads labelled masks and none were given; name an annotated dataset (--labels)"
        )
    wants = config.stage in ("second", "align")
    if wants != (student is not None):
        remedy = "name the model to begin from (--student)" if wants else "it begins from the teacher; drop --student"
        raise InputError(f"stage {config.stage!r} was asked for {'without' if wants else 'with'} a student; {remedy}")
    begin_with = teacher if student is None else student
    for name, model in (("teacher", teacher), ("student", begin_with)):
        if is_quantized(model):
            raise InputError(f"the {name} is quantized; expected float weights: slim first, then quantize")
        for parameter, value in model.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"the {name}'s weight {parameter} holds NaN or infinity; it cannot be slimmed")
    channels = begin_with.config.encoder.out_channels
    if channels != teacher.config.encoder.out_channels:
        raise InputError(
            f"the student's embedding has {channels} channels and the teacher's {teacher.config.encoder.out_channels}; "
            "expected the same"
        )
    kinds = {"first": ("embedding",), "second": ("bottleneck",), "align": ()}.get(
        config.stage, ("embedding", "bottleneck")
    )
    groups = [
        group
        for group in begin_with.image_encoder.channel_groups()
        if group.kind in kinds and not (config.cuts_heads and group.family.endswith("attention"))
    ]
    if groups and config.ratio is not None:
        check_ratio(groups, config.ratio)
    return begin_with


def _recipe(
    teacher: Sam, student: Sam | None, paths: Sequence[Path], labels: Dataset | None, config: SlimConfig, size: int
) -> dict[str, Any]:
    """Everything that the weights depend on; photographs by name and length."""
    listing = hashlib.sha256("".join(f"{p.name}:{p.stat().st_size}\n" for p in paths).encode())
    return {
        **config.to_dict(),
        "image_size": size,
        "teacher": teacher.fingerprint(),
        "student": None if student is None else student.fingerprint(),
        "photographs": listing.hexdigest(),
        "labels": None if labels is None else labels.size,
    }


def _fill_cache(
    teacher: Sam, photographs: ImageDataset, positions: range, config: SlimConfig, engine: DistributedContext
) -> EmbeddingCache | None:
    if config.cache is None:
        return None
    views = config.views is not None
    cache = EmbeddingCache(config.cache, teacher.fingerprint(), photographs.image_size, half=views)
    if views:
        keys = ((photographs.path_at(p), photographs.number_at(p)) for p in positions)
        cache.fill(FixedViews(photographs), keys, teacher.encode, engine)
    else:
        cache.fill(photographs, (photographs.path_at(p) for p in positions), teacher.encode, engine)
    return cache
