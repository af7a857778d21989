"""SlimSAM's alternate procedure (section 3.2): cut embeddings, align bottlenecks, cut bottlenecks, align embeddings."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from samlet.data.images import find_images, is_readable
from samlet.errors import InputError
from samlet.models import ImageEncoder, Sam
from samlet.slimming.config import SlimConfig
from samlet.slimming.importance import disturbed_taylor
from samlet.slimming.losses import bottleneck_aligning, bottleneck_alpha, embedding_aligning, embedding_alpha
from samlet.slimming.selection import Kept, select_global, select_uniform
from samlet.slimming.surgery import cut_encoder, with_encoder
from samlet.training.batches import Photographs
from samlet.training.loop import LoopConfig, StageResult, train
from samlet.training.reproducible import reproducible

_HELD_OUT_SHARE, _MOST_HELD_OUT = 0.3, 24


@dataclass(frozen=True, kw_only=True)
class SlimRun:
    """What a slimming run made.

    Attributes:
        teacher: the model it began with.
        pruned: the final widths with the teacher's own weights, not aligned.
        sam: the slimmed model.
        kept: the channels that stayed, by group.
        config: the settings.
        image_size: side of the encoder's input while slimming, pixels.
        trained_on: photographs that the aligning stages saw.
        held_out: photographs never trained or scored on.
        skipped: photographs that could not be read, with the reason.
        stages: the two aligning stages.
        seconds: of the run.
    """

    teacher: Sam
    pruned: Sam
    sam: Sam
    kept: Kept
    config: SlimConfig
    image_size: int
    trained_on: list[Path]
    held_out: list[Path]
    skipped: dict[Path, str]
    stages: dict[str, StageResult]
    seconds: float

    @property
    def steps(self) -> int:
        """Optimizer steps taken."""
        return sum(len(stage.losses) for stage in self.stages.values())

    @property
    def images_per_second(self) -> float:
        """Of the aligning stages."""
        return sum(s.images for s in self.stages.values()) / sum(s.seconds for s in self.stages.values())


def hold_out(paths: Sequence[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Split photographs at random into those to train on and those to measure on.

    Raises:
        InputError: fewer than two.
    """
    if len(paths) < 2:
        raise InputError(f"{len(paths)} image was found; expected at least 2: some to align on, some to measure on")
    count = min(_MOST_HELD_OUT, max(1, math.floor(len(paths) * _HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(len(paths))
    chosen = set(order[:count].tolist())
    return [p for i, p in enumerate(paths) if i not in chosen], [paths[i] for i in sorted(chosen)]


@reproducible()
def run(teacher: Sam, images: str | Path | Sequence[Path], config: SlimConfig) -> SlimRun:
    """Slim a model; see `slim`. Returns everything a report needs."""
    start = time.perf_counter()
    size = teacher.check_image_size(config.image_size)
    paths = find_images(images) if isinstance(images, str | Path) else list(images)
    trained_on, held_out = hold_out(paths, config.seed)
    if not any(is_readable(path) for path in held_out):
        raise InputError(
            f"none of the {len(held_out)} photographs held out to measure on can be read; mend {held_out[0]}"
        )
    photographs = Photographs(trained_on, size, teacher.pixel_mean, teacher.pixel_std)
    batches = photographs.shuffled(1, config.seed, config.augment)
    stage_config = LoopConfig(
        steps=config.total_steps(len(trained_on)) // 2,
        learning_rate=config.learning_rate,
        accumulate=config.batch_size,
    )

    v0 = copy.deepcopy(teacher.image_encoder).requires_grad_(False)
    kept = _select(v0, "embedding", photographs, config)
    v1 = cut_encoder(v0, kept)
    bottleneck = train(
        v1,
        lambda batch, progress: bottleneck_aligning(v1, v0, batch, bottleneck_alpha(progress), config.loss),
        batches,
        stage_config,
        "aligning bottlenecks",
    )
    v1.requires_grad_(False)
    kept_inside = _select(v1, "bottleneck", photographs, config)
    v2 = cut_encoder(v1, kept_inside)
    embedding = train(
        v2,
        lambda batch, progress: embedding_aligning(v2, v1, v0, batch, embedding_alpha(progress), config.loss),
        batches,
        stage_config,
        "aligning embeddings",
    )
    kept.update(kept_inside)
    return SlimRun(
        teacher=teacher,
        pruned=with_encoder(teacher, cut_encoder(v0, kept)),
        sam=with_encoder(teacher, v2),
        kept=kept,
        config=config,
        image_size=size,
        trained_on=[path for path in trained_on if path in photographs.seen],
        held_out=held_out,
        skipped=photographs.skipped,
        stages={"bottleneck aligning": bottleneck, "embedding aligning": embedding},
        seconds=time.perf_counter() - start,
    )


def _select(encoder: ImageEncoder, kind: str, photographs: Photographs, config: SlimConfig) -> Kept:
    """Score the groups of one kind and choose: uniform for embeddings, global for bottlenecks (SlimSAM's defaults)."""
    groups = [group for group in encoder.channel_groups() if group.kind == kind]
    scores: dict[str, Tensor] = disturbed_taylor(
        copy.deepcopy(encoder).requires_grad_(True),
        photographs.sample(config.scoring_images, config.seed),
        groups,
        config.seed,
    )
    select = select_uniform if kind == "embedding" else select_global
    return select(groups, scores, config.ratio)


def slim(
    teacher: Sam,
    images: str | Path | Sequence[Path],
    *,
    ratio: float = 0.5,
    steps: int | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int = 0,
    learning_rate: float = 1e-3,
) -> Sam:
    """Make the image encoder of a model smaller, with photographs and no labels (SlimSAM, NeurIPS 2024).

    Prompt encoder and mask decoder stay as they are. `samlet slim` does the same and writes model, figures and picture
    to a folder.

    Args:
        teacher: the model; it is left as it is.
        images: a folder of photographs, or their paths. Some are held out and never trained on.
        ratio: share of the channels to cut, between 0 and 1; 0.5 cuts about 70 % of the multiply-accumulates.
        steps: optimizer steps in all.
        epochs: passes over the photographs instead; 40 if neither is given.
        image_size: side of the encoder's input while slimming, pixels; the model's own if None.
        seed: of noise, order and views; the same seed on the same CPU gives the same weights.
        learning_rate: of Adam, at its peak.

    Returns:
        The slimmed model.

    Raises:
        InputError: a setting that cannot work, or photographs that cannot be used.
        SamletError: training failed.
    """
    config = SlimConfig(
        ratio=ratio, steps=steps, epochs=epochs, image_size=image_size, seed=seed, learning_rate=learning_rate
    )
    return run(teacher, images, config).sam
