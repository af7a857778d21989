"""The procedures of slimming (SlimSAM, section 3.2): alternate and in one step, whole or by stages, resumable."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from samlet.data.datasets import Dataset
from samlet.data.images import find_images, is_readable
from samlet.errors import InputError
from samlet.io.progress import whole
from samlet.models import (
    ImageEncoder,
    Sam,
)
from samlet.models.config import trained_at
from samlet.models.float_weights import check_float_weights
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog
from samlet.runs.reproducible import reproducible
from samlet.slimming.allocation import Allocation
from samlet.slimming.config import SlimConfig
from samlet.slimming.selection import Kept, check_ratio
from samlet.slimming.sizing import allocate
from samlet.slimming.stages import CHECK_IMAGES, Slimming, announce, plan_stages
from samlet.slimming.surgery import cut_encoder, widths_like, with_encoder
from samlet.slimming.timing import encoder_seconds
from samlet.slimming.validation import Validation
from samlet.training.batches import FixedViews, ImageDataset, train_val_split
from samlet.training.budget import Clock, counted
from samlet.training.embeddings import EmbeddingCache
from samlet.training.loop import StageResult

_REFITTING, _REFITTING_SHARE = "refitting", 0.2
_PASSES = 5  # of the uncut encoder, that refitting on one picture takes about as long as


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
        available: number of photographs that were there to score and align with.
        trained_on: photographs that the aligning stages saw.
        held_out: photographs never trained or scored on.
        skipped: photographs that could not be used, with the reason.
        stages: the aligning stages.
        log: of every step.
        refitted_on: pictures that layers were refitted on after each cut.
        processes: that shared the work.
        seconds: of the run; of sessions that were stopped, what their kept steps took.
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
    available: int
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
    engine = engine or DistributedContext(teacher.device, config.precision)
    config, minutes = replace(config, precision=engine.precision), config.minutes
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
    shared = Slimming(
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
        shortest = replace(config, steps=2, epochs=None, minutes=None)
        kinds = [kind for plan in plan_stages(shortest, 1) for kind in plan.cut]
        shared.allocation = allocate(teacher, before, kinds, shared.scorer(), workspace)
        shared.widths = shared.allocation.widths
    elif config.like is not None:
        shared.widths = widths_like(before, config.like)
    if minutes is not None:
        shared.cache = _fill_cache(teacher, photographs, range(len(trained_on)), config, engine)
        shared.config = _refitting_within(minutes, shared, before)
        also = "" if shared.config is config else f" --recovery-images {shared.config.recovery_images}"
        config = shared.config = _counted(minutes, shared, before, clock, also)
    plans = plan_stages(config, len(trained_on))
    if engine.is_main:
        announce(plans, config, teacher.config.encoder, len(trained_on), config.steps is None and minutes is None)
    positions = range(
        config.batch_size * plans[0].first_step, config.batch_size * (plans[-1].first_step + plans[-1].steps)
    )
    shared.cache = shared.cache or _fill_cache(teacher, photographs, positions, config, engine)

    encoder, stages = before, {}
    with whole("step", sum(plan.steps for plan in plans), engine.is_main):
        for plan in plans:
            encoder, stages[plan.name] = shared.stage(plan, encoder)
    shared.log.close()
    skipped = {**photographs.skipped, **held_out_photographs.skipped}
    return SlimRun(
        teacher=teacher,
        origin=begin_with,
        pruned=trained_at(with_encoder(teacher, cut_encoder(before, shared.kept)), size),
        sam=trained_at(with_encoder(teacher, encoder), size),
        kept=shared.kept,
        config=config,
        image_size=size,
        available=len(trained_on),
        trained_on=sorted({photographs.path_at(position) for position in positions}),
        held_out=held_out,
        skipped=skipped,
        stages=stages,
        log=shared.log,
        refitted_on=0 if config.stage == "align" else shared.recovery_views,
        processes=engine.world,
        seconds=time.perf_counter() - start + sum(stage.earlier for stage in stages.values()),
        minutes=minutes,
        allocation=shared.allocation,
    )


def _refitting_within(minutes: float, shared: Slimming, before: ImageEncoder) -> SlimConfig:
    """The settings with fewer pictures to refit on, where the usual number would take too much of the time."""
    config, engine, workspace = shared.config, shared.engine, shared.workspace
    if config.recovery_images is not None or config.stage == "align":
        return config
    noted = workspace.noted(_REFITTING) if workspace is not None and engine.is_main else None
    if noted is None:
        cuts = 2 if config.procedure == "alternate" and config.stage == "all" else 1
        once = _PASSES * encoder_seconds(before, shared.photographs, engine.device)
        fitting = int(_REFITTING_SHARE * 60 * minutes / (cuts * once))
        noted = min(shared.recovery_views, max(CHECK_IMAGES, fitting))
        if workspace is not None and engine.is_main:
            workspace.note(_REFITTING, noted)
    found = int(engine.from_main(noted))
    return config if found == shared.recovery_views else replace(config, recovery_images=found)


def _counted(minutes: float, shared: Slimming, before: ImageEncoder, clock: Clock, also: str) -> SlimConfig:
    """The settings with the number of steps that the budget of time allows; a continued run keeps its number."""
    config, images = shared.config, len(shared.photographs.paths)
    count = partial(shared.count_steps, minutes, clock, before)
    noted = counted(shared.workspace, shared.engine, minutes, count, also)
    stages = len(plan_stages(replace(config, steps=noted.steps, minutes=None), images))
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
        check_float_weights(model, f"the {name}", "it cannot be slimmed", "slim first, then quantize")
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
