"""Settings of a slimming run."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from samlet.errors import InputError
from samlet.models import EncoderConfig
from samlet.slimming.alpha import ALPHAS, Alpha, AlphaName
from samlet.slimming.budget import QUANTITIES, Budget, parse_budget
from samlet.slimming.importance import ACCUMULATIONS, CRITERIA, Accumulation, Criterion
from samlet.slimming.losses import ERRORS, ErrorName
from samlet.slimming.selection import SELECTIONS, Selection
from samlet.training.settings import TrainingSettings


@dataclass(frozen=True)
class _Amount:
    """A number of pictures, at 512 px, and its bounds at other sizes, where about as many pixels are computed."""

    usual: int
    least: int
    most: int

    def at(self, image_size: int) -> int:
        return min(self.most, max(self.least, self.usual * 512**2 // image_size**2))


_VIEWS, _PHOTOGRAPHS = _Amount(32, 8, 48), _Amount(96, 24, 160)

_RATIO = 0.5

ProcedureName = Literal["alternate", "one-step"]
PROCEDURES: dict[ProcedureName, str] = {
    "alternate": "cut embeddings, align bottlenecks, cut bottlenecks, align embeddings (section 3.2)",
    "one-step": "cut everything at once, then align the final embedding",
}
"""The order of cutting and aligning."""

WidthsName = Literal["searched", "even"]
WIDTHS: dict[WidthsName, str] = {
    "searched": "parts are cut where a saving costs the least error",
    "even": "every part is cut alike",
}
"""How a budget is divided among the parts of an encoder."""

StageName = Literal["all", "first", "second", "align"]
STAGES: dict[StageName, str] = {
    "all": "the whole procedure",
    "first": "only the first half of the alternate procedure: its result is a model",
    "second": "only the second half, from such a model (--student)",
    "align": "cut nothing, align the final embedding of any model (--student) further",
}
"""What of the procedure is run."""


@dataclass(frozen=True, kw_only=True)
class SlimConfig(TrainingSettings):
    """How to slim; see `TrainingSettings` for what is not listed here.

    `steps` and `epochs` are those of both aligning stages together, 0 for cutting and refitting alone; without either
    it is 40 epochs (SlimSAM's number at ratio 0.5).

    Attributes:
        ratio: share of the channels to cut, between 0 and 1; 0.5 if there is no budget either.
        macs: what the encoder may cost instead, see `budget.QUANTITIES`: a share of the teacher's encoder, or an amount
            such as "11.5G". Which part is cut by how much is searched, see `allocation`.
        latency: likewise, a share or such as "200ms".
        parameters: likewise, a share or such as "3M".
        like: the encoder's config of a model that was slimmed before, whose widths are taken instead.
        widths: how a budget is divided, see `WIDTHS`.
        latency_table: a table of another machine to reckon latency by, see `latencies`; this machine is timed if None.
        procedure: see `PROCEDURES`.
        stage: see `STAGES`.
        importance: see `importance.CRITERIA`.
        accumulation: see `importance.ACCUMULATIONS`.
        noises: draws of noise on each scoring image, for `disturbed-taylor` and `hessian`.
        scoring_images: photographs that importance is estimated on (published code: 1,000).
        selection: see `selection.SELECTIONS`; embeddings are always cut uniformly. With a
            budget, blocks are ranked within each stage.
        whole_heads: cut whole attention heads first, then channels inside those that stay; None for whenever blocks are
            ranked together, so that `uniform` gives the published shapes.
        recovery_images: photographs that cut layers are refitted on by least squares, random views of them where there
            are fewer and `augment` is on; 0 for no recovery. If None, as many photographs as make 96 of 512 px where
            there are that many, and views that make 32 of 512 px otherwise.
        decoder_aware: weight the embedding's error by what the mask decoder reads.
        loss: how features are compared: `mse` as in the paper, or `relative`, mse over the target's variance.
        bottleneck_alpha: α while bottlenecks are aligned, see `alpha.ALPHAS`.
        embedding_alpha: α while embeddings are aligned.
        alpha_epochs: N, the epochs until α is 0; None for half of each stage (the paper's 10 of 20).
        augment: crop and mirror photographs at random.
        views: fixed random views of each photograph, taken in turns, so that `cache` can keep the teacher's embeddings
            of them; None for new views each time.
    """

    ratio: float | None = None
    macs: float | str | None = None
    latency: float | str | None = None
    parameters: float | str | None = None
    like: EncoderConfig | None = None
    widths: WidthsName = "searched"
    latency_table: Path | None = None
    procedure: ProcedureName = "alternate"
    stage: StageName = "all"
    importance: Criterion = "disturbed-taylor"
    accumulation: Accumulation = "sum"
    noises: int = 1
    scoring_images: int = 64
    selection: Selection = "gaussian"
    whole_heads: bool | None = None
    recovery_images: int | None = None
    decoder_aware: bool = False
    loss: ErrorName = "relative"
    bottleneck_alpha: AlphaName = "constant"
    embedding_alpha: AlphaName = "dynamic"
    alpha_epochs: int | None = None
    augment: bool = True
    views: int | None = None

    def __post_init__(self) -> None:
        self._check_size()
        least = {
            "steps": 0,
            "recovery_images": 0,
            **dict.fromkeys(("scoring_images", "noises", "alpha_epochs", "views"), 1),
        }
        choices: dict[str, Any] = {
            "procedure": PROCEDURES,
            "stage": STAGES,
            "importance": CRITERIA,
            "accumulation": ACCUMULATIONS,
            "selection": SELECTIONS,
            "loss": ERRORS,
            "widths": WIDTHS,
            "bottleneck_alpha": ALPHAS,
            "embedding_alpha": ALPHAS,
        }
        self.check(least, choices)
        if self.views is not None and not self.augment:
            raise InputError(f"views is {self.views} and augment is off, which leaves one view; leave one of them out")
        if self.steps == 1:
            raise InputError(
                "steps is 1; expected 0, to cut and refit only, or at least 2, one for each aligning stage"
            )
        if self.stage in ("first", "second") and self.procedure != "alternate":
            raise InputError(f"stage {self.stage!r} is half of the alternate procedure; {self.procedure} has one stage")

    def _check_size(self) -> None:
        """One of ratio and the budgets; ratio 0.5 if there is none."""
        sizes = {name: getattr(self, name) for name in ("ratio", *QUANTITIES)}
        given = [f"{name} {value}" for name, value in sizes.items() if value is not None]
        given += ["like, the widths of another model,"] if self.like is not None else []
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} were given together; give one of them")
        if not given:
            object.__setattr__(self, "ratio", _RATIO)
        _ = self.budget  # refuses what is none
        if self.ratio is not None and not (math.isfinite(self.ratio) and 0 < self.ratio < 1):
            raise InputError(f"ratio is {self.ratio:g}; expected a number between 0 and 1, both excluded, such as 0.5")
        if self.latency_table is not None and self.latency is None:
            raise InputError(f"latency table {self.latency_table} was given without latency; say what to reach by it")
        if self.latency_table is not None and not Path(self.latency_table).is_file():
            raise InputError(
                f"latency table {self.latency_table} is no file; expected what `samlet cost M --table FILE` has written"
            )
        if self.ratio is None and self.stage == "align":
            raise InputError(f"stage 'align' cuts nothing and {given[0]} was given; leave one of them out")

    @property
    def fixed_views(self) -> int | None:
        """Likewise."""
        return self.views

    @property
    def budget(self) -> Budget | None:
        """What the encoder may cost, where that is given in place of a ratio."""
        for quantity in QUANTITIES:
            if (value := getattr(self, quantity)) is not None:
                return parse_budget(quantity, value)
        return None

    @property
    def size(self) -> str:
        """How small the model becomes, in words."""
        if self.like is not None:
            return "the widths of another model"
        return f"ratio {self.ratio:g}" if self.budget is None else str(self.budget)

    @property
    def cuts_heads(self) -> bool:
        """Whether whole heads are cut."""
        return self.selection != "uniform" if self.whole_heads is None else self.whole_heads

    def recovery_views(self, image_size: int, photographs: int) -> int:
        """How many photographs or views of them layers are refitted on.

        Args:
            image_size: side of the encoder's input, pixels.
            photographs: that there are.
        """
        if self.recovery_images is not None:
            return self.recovery_images
        views = _VIEWS.at(image_size)
        return max(views, min(photographs, _PHOTOGRAPHS.at(image_size)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what does not change the result."""
        table = self.latency_table
        digest = hashlib.sha256(table.read_bytes()).hexdigest() if table is not None and table.is_file() else None
        return {**super().to_dict(), "latency_table": digest}

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all for so many training photographs."""
        if self.steps is not None:
            return self.steps
        return max(2, math.ceil((self.epochs or 40) * images / self.batch_size))

    def alpha(self, name: AlphaName, images: int) -> Alpha:
        """α over a stage, for so many training photographs."""
        if self.alpha_epochs is None:
            return Alpha(name=name)
        return Alpha(name=name, periods=self.alpha_epochs, period_steps=images / self.batch_size)
