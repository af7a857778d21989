"""Settings of a slimming run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from samlet.errors import InputError
from samlet.slimming.alpha import ALPHAS, Alpha, AlphaName
from samlet.slimming.importance import ACCUMULATIONS, CRITERIA, Accumulation, Criterion
from samlet.slimming.losses import ERRORS, ErrorName
from samlet.slimming.selection import SELECTIONS, Selection
from samlet.training.engine import PRECISIONS, PrecisionName
from samlet.training.loop import SCHEDULES, ScheduleName

ProcedureName = Literal["alternate", "one-step"]
PROCEDURES: dict[ProcedureName, str] = {
    "alternate": "cut embeddings, align bottlenecks, cut bottlenecks, align embeddings (section 3.2)",
    "one-step": "cut everything at once, then align the final embedding",
}
"""The order of cutting and aligning."""

StageName = Literal["all", "first", "second", "align"]
STAGES: dict[StageName, str] = {
    "all": "the whole procedure",
    "first": "only the first half of the alternate procedure: its result is a model",
    "second": "only the second half, from such a model (--student)",
    "align": "cut nothing, align the final embedding of any model (--student) further",
}
"""What of the procedure is run."""


@dataclass(frozen=True, kw_only=True)
class SlimConfig:
    """How to slim.

    Attributes:
        ratio: share of the channels to cut, between 0 and 1.
        steps: optimizer steps in all, half for each aligning stage; None to go by `epochs`.
        epochs: passes over the photographs in all; 40 if `steps` is None too (SlimSAM's number at ratio 0.5).
        image_size: side of the encoder's input while slimming, pixels; the model's own if None.
        seed: of noise, order and views.
        procedure: see `PROCEDURES`.
        stage: see `STAGES`.
        importance: see `importance.CRITERIA`.
        accumulation: see `importance.ACCUMULATIONS`.
        noises: draws of noise on each scoring image, for `disturbed-taylor` and `hessian`.
        scoring_images: photographs that importance is estimated on (published code: 1,000).
        selection: see `selection.SELECTIONS`; embeddings are always cut uniformly.
        whole_heads: cut whole attention heads first, then channels inside those that stay; None for whenever blocks are
            ranked together, so that `uniform` gives the published shapes.
        recovery_images: photographs that cut layers are refitted on by least squares; 0 for no recovery.
        decoder_aware: weight the embedding's error by what the mask decoder reads.
        loss: how features are compared: `mse` as in the paper, or `relative`, mse over the target's variance.
        bottleneck_alpha: α while bottlenecks are aligned, see `alpha.ALPHAS`.
        embedding_alpha: α while embeddings are aligned.
        alpha_epochs: N, the epochs until α is 0; None for half of each stage (the paper's 10 of 20).
        learning_rate: of Adam, at its peak.
        schedule: what the learning rate does, see `training.loop.SCHEDULES`.
        patience: epochs without gain before a plateau halves it.
        batch_size: images whose gradients make one step (SlimSAM: 4).
        micro_batch: images computed at once.
        clip: largest norm of the gradient.
        augment: crop and mirror photographs at random.
        cache: folder for the teacher's embeddings; needs `augment` off.
        precision: see `training.engine.PRECISIONS`.
        checkpoint_every: steps between checkpoints; None for one a minute.
    """

    ratio: float = 0.5
    steps: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    seed: int = 0
    procedure: ProcedureName = "alternate"
    stage: StageName = "all"
    importance: Criterion = "disturbed-taylor"
    accumulation: Accumulation = "sum"
    noises: int = 1
    scoring_images: int = 64
    selection: Selection = "gaussian"
    whole_heads: bool | None = None
    recovery_images: int = 64
    decoder_aware: bool = False
    loss: ErrorName = "relative"
    bottleneck_alpha: AlphaName = "constant"
    embedding_alpha: AlphaName = "dynamic"
    alpha_epochs: int | None = None
    learning_rate: float = 1e-4
    schedule: ScheduleName = "cosine"
    patience: int = 4
    batch_size: int = 4
    micro_batch: int = 1
    clip: float = 1.0
    augment: bool = True
    cache: Path | None = None
    precision: PrecisionName = "fp32"
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and 0 < self.ratio < 1):
            raise InputError(f"ratio is {self.ratio:g}; expected a number between 0 and 1, both excluded, such as 0.5")
        if self.steps is not None and self.epochs is not None:
            raise InputError(f"steps {self.steps} and epochs {self.epochs} were both given; give one of them")
        least = {"steps": 2, "recovery_images": 0} | dict.fromkeys(
            ("epochs", "batch_size", "micro_batch", "scoring_images", "noises", "patience", "alpha_epochs"), 1
        )
        for name, smallest in {**least, "checkpoint_every": 1}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name} is {value}; expected at least {smallest}")
        choices: dict[str, Any] = {
            "procedure": PROCEDURES,
            "stage": STAGES,
            "importance": CRITERIA,
            "accumulation": ACCUMULATIONS,
            "selection": SELECTIONS,
            "loss": ERRORS,
            "bottleneck_alpha": ALPHAS,
            "embedding_alpha": ALPHAS,
            "schedule": SCHEDULES,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(known)}")
        if self.stage in ("first", "second") and self.procedure != "alternate":
            raise InputError(f"stage {self.stage!r} is half of the alternate procedure; {self.procedure} has one stage")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected a whole number from 0 to {2**32 - 1}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name.replace('_', ' ')} is {value:g}; expected a positive number such as 0.001")
        if self.cache is not None and self.augment:
            raise InputError(
                f"cache {self.cache} keeps the embeddings of photographs as they are, but they are cropped and "
                "mirrored at random; turn that off (augment=False, --no-augment) or leave the cache out"
            )

    @property
    def cuts_heads(self) -> bool:
        """Whether whole heads are cut."""
        return self.selection != "uniform" if self.whole_heads is None else self.whole_heads

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all for so many training photographs."""
        if self.steps is not None:
            return self.steps
        return max(2, math.ceil((self.epochs or 40) * images / self.batch_size))

    def epoch_steps(self, images: int) -> int:
        """Optimizer steps of one pass over so many training photographs."""
        return max(1, round(images / self.batch_size))

    def alpha(self, name: AlphaName, images: int) -> Alpha:
        """α over a stage, for so many training photographs."""
        if self.alpha_epochs is None:
            return Alpha(name=name)
        return Alpha(name=name, periods=self.alpha_epochs, period_steps=images / self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what does not change the result."""
        values = dataclasses.asdict(self)
        for name in ("cache", "checkpoint_every"):
            del values[name]
        return values
