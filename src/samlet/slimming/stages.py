"""The stages of slimming: what is cut, how layers are refitted, and how the encoder is aligned, resumable."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from samlet.data.datasets import Dataset
from samlet.io.progress import progress_bar
from samlet.models import (
    Embedding,
    EncoderConfig,
    ImageEncoder,
    Sam,
    SamConfig,
    build_encoder,
    stacked,
)
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog, say
from samlet.slimming.allocation import Allocation
from samlet.slimming.alpha import Alpha
from samlet.slimming.config import SlimConfig
from samlet.slimming.losses import BottleneckAligning, EmbeddingAligning, Objective, embedding_error
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.scoring import Scorer
from samlet.slimming.selection import Kept
from samlet.slimming.surgery import cut_encoder
from samlet.slimming.timing import CutTimes, encoder_seconds, provisional, steps_within
from samlet.slimming.validation import Validation
from samlet.slimming.widths import Widths
from samlet.training.batches import ImageDataset, Photograph
from samlet.training.budget import Clock
from samlet.training.budget import Plan as TimePlan
from samlet.training.embeddings import EmbeddingCache
from samlet.training.loop import Stage, StageResult, StepLoss, seconds_of_step, shares, train

CHECK_IMAGES = 2
"""Photographs on which refitted layers are checked, at least."""

_MANY = 1000  # steps of a stage whose first and last are timed


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage: what is cut, then how it is aligned."""

    name: str
    cut: tuple[str, ...]
    objective: type[Objective]
    alpha: Alpha
    steps: int
    first_step: int = 0
    needs_middle: bool = False


def plan_stages(config: SlimConfig, images: int) -> list[StagePlan]:
    """The stages of a run, in order, for so many training photographs."""
    total = config.total_steps(images)
    if config.stage == "align":
        off = config.alpha("off", images)
        return [StagePlan(name="aligning", cut=(), objective=EmbeddingAligning, alpha=off, steps=total)]
    if config.procedure == "one-step":
        both = ("embedding", "bottleneck")
        off = config.alpha("off", images)
        return [StagePlan(name="aligning", cut=both, objective=EmbeddingAligning, alpha=off, steps=total)]
    half = total // 2 if config.stage == "all" else total
    first = StagePlan(
        name="bottleneck aligning",
        cut=("embedding",),
        objective=BottleneckAligning,
        alpha=config.alpha(config.bottleneck_alpha, images),
        steps=half,
    )
    second = StagePlan(
        name="embedding aligning",
        cut=("bottleneck",),
        objective=EmbeddingAligning,
        alpha=config.alpha(config.embedding_alpha, images),
        steps=half,
        first_step=half,
        needs_middle=True,
    )
    return {"all": [first, second], "first": [first], "second": [second]}[config.stage]


def length(plans: Sequence[StagePlan], config: SlimConfig, photographs: int, by_default: bool) -> str:
    """How long a run is, in words."""
    total = sum(plan.steps for plan in plans)
    passes = total * config.batch_size / photographs
    stages = f"{len(plans)} stage{'s' * (len(plans) > 1)}"
    return (
        f"{total} steps of {config.batch_size} images in {stages}, {passes:.3g} passes over {photographs} photographs"
        f"{'; --steps or --minutes make it shorter' * by_default}"
    )


def announce(
    plans: Sequence[StagePlan], config: SlimConfig, encoder: EncoderConfig, photographs: int, by_default: bool
) -> None:
    """Say before the work begins what cannot be exported afterwards, and how long the run is."""
    if told := not_exported(config, encoder):
        say(told)
    say(length(plans, config, photographs, by_default))


def not_exported(config: SlimConfig, encoder: EncoderConfig) -> str:
    """What a run of these settings makes cannot be exported to, and which option changes that; '' if to everything."""
    others = "Everything else can: onnx, openvino, executorch, transformers.js, anylabeling"
    kinds: dict[str, set[str]] = {"align": set(), "first": {"embedding"}}
    cut = kinds.get(config.stage, {"embedding", "bottleneck"})
    if not cut or (cut == encoder.publishable_cuts and cut == {"embedding"}):
        return ""
    if not cut <= encoder.publishable_cuts:
        return (
            f"no published format holds the widths of a slimmed {encoder.kind} encoder, so `samlet export --to hf` and "
            f"--to segment-anything will refuse the model, whatever is chosen here. {others}"
        )
    if config.selection == "uniform" and not config.cuts_heads and config.budget is None and config.like is None:
        return ""
    return (
        "blocks may get widths of their own, which `samlet export --to hf` and --to segment-anything cannot hold; "
        f"--ratio with --selection uniform --heads channels leaves widths that they can. {others}"
    )


@dataclass(kw_only=True)
class Slimming:
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

    def stage(self, plan: StagePlan, before: ImageEncoder) -> tuple[ImageEncoder, StageResult]:
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

    def _objective(self, plan: StagePlan, student: ImageEncoder, before: ImageEncoder) -> tuple[Objective, StepLoss]:
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

    def _cut(self, plan: StagePlan, before: ImageEncoder) -> tuple[Kept, ImageEncoder, CutTimes]:
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
        plans = plan_stages(replace(self.config, steps=2 * _MANY, minutes=None), images)
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
            fitted, checked = (0, count), (count, count + CHECK_IMAGES)
        else:
            fitted, checked = (CHECK_IMAGES, count + CHECK_IMAGES), (0, CHECK_IMAGES)
            fitted = fitted if len(self.photographs.paths) > CHECK_IMAGES else checked
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
