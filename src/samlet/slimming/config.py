"""Settings of a slimming run.

One module, though long: a setting is a field, with its help, choices and bounds.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from samlet.errors import InputError
from samlet.registry import Registry
from samlet.settings import documented, setting
from samlet.slimming.alpha import ALPHAS, Alpha, AlphaName
from samlet.slimming.budget import QUANTITIES, Budget, parse_budget
from samlet.training.settings import TrainingSettings

if TYPE_CHECKING:
    from samlet.models import EncoderConfig


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
    "one-step": "cut everything at once, then align the final embedding (baseline)",
}
"""The order of cutting and aligning."""

WidthsName = Literal["searched", "even"]
WIDTHS: dict[WidthsName, str] = {
    "searched": "each part is cut alone and refitted; cuts are made where a saving costs the least error",
    "even": "every part is cut alike",
}
"""How a budget is divided among the parts of an encoder."""

StageName = Literal["all", "first", "second", "align"]
STAGES: dict[StageName, str] = {
    "all": "the whole procedure",
    "first": "only embeddings are cut and bottlenecks aligned; the result is a model",
    "second": "only bottlenecks are cut and embeddings aligned, from the model that --student names",
    "align": "nothing is cut, the final embedding of --student is aligned further",
}
"""What of the procedure is run."""

Criterion = Literal["disturbed-taylor", "taylor", "hessian", "magnitude", "random"]
CRITERIA: dict[Criterion, str] = {
    "disturbed-taylor": "|w x gradient| of the distance to the teacher's embedding plus noise, no labels (eq. 4)",
    "taylor": "|w x gradient| of the loss on labelled masks, needs --labels (the baseline of section 3.3)",
    "hessian": "squared gradients, one image at a time, over a mask on each channel (Hessian baseline)",
    "magnitude": "|w|, no images (baseline)",
    "random": "chance, no images (baseline)",
}
"""How channels are scored."""

criteria: Registry = Registry("criterion", CRITERIA)
"""What scores them; see `slimming.scoring.CriterionInputs`."""

Selection = Literal["uniform", "gaussian", "mean", "max", "sum", "standardization"]
SELECTIONS: dict[Selection, str] = {
    "uniform": "the same share of every block (the paper's local ranking; `local` is another name)",
    "gaussian": "all blocks ranked together; scores minus their mean, over their deviation (the paper's choice)",
    "mean": "ranked together; scores over their mean",
    "max": "ranked together; scores over their maximum",
    "sum": "ranked together; scores over their sum",
    "standardization": "ranked together; scores minus their minimum, over their range",
}
"""How bottleneck channels are chosen."""

selections: Registry = Registry("selection", SELECTIONS)
"""What brings the scores of a group to one scale, so that all can be ranked together; (size,) to (size,)."""

ErrorName = Literal["relative", "mse"]
ERRORS: dict[ErrorName, str] = {
    "relative": "mean squared error over the target's variance (beyond the paper)",
    "mse": "mean squared error (eqs. 5 and 7)",
}
"""How features are compared."""

losses: Registry = Registry("loss", ERRORS)
"""What compares them: (output, target, number of images that the first axis holds) to a scalar."""


def _budget(what: str, example: str) -> Any:
    """A budget that takes the place of a ratio."""
    text = (
        f"{what}, in place of --ratio: a share of the teacher's, such as 0.3, or an amount, such as {example}; which "
        "part loses how much is searched (beyond the paper)"
    )
    return setting(None, text, one_of="size", metavar="X")


@documented
@dataclass(frozen=True, kw_only=True)
class SlimConfig(TrainingSettings):
    """How to slim.

    `steps` and `epochs` are those of both aligning stages together, 0 for cutting and refitting alone; without either
    it is 40 epochs (SlimSAM's number at ratio 0.5).
    """

    ratio: float | None = setting(
        None,
        "share of the channels to cut, between 0 and 1; 0.5 cuts about 70 % of the MACs; 0.5 if no size is given",
        one_of="size",
        metavar="R",
    )
    macs: float | str | None = _budget("multiply-accumulates of the encoder (linear layers and convolutions)", "11.5G")
    latency: float | str | None = _budget(
        "time of the encoder on this machine, or by --latency-table on another", "200ms"
    )
    parameters: float | str | None = _budget("weights of the encoder", "3M")
    like: EncoderConfig | None = setting(
        None,
        "in place of --ratio: the widths of a model that was slimmed before, so that nothing has to be searched",
        one_of="size",
        metavar="M",
    )
    widths: WidthsName = setting("searched", "how --macs, --latency or --parameters is divided", choices=WIDTHS)
    latency_table: Path | None = setting(
        None,
        "times on the machine that the model is for, made there with `samlet cost M --table FILE`",
        metavar="FILE",
    )
    importance: Criterion = setting(
        "disturbed-taylor", "how channels are scored", choices=CRITERIA, group="what is cut"
    )
    scoring_images: int = setting(
        64, "photographs that importance is estimated on (published code: 1000)", least=1, group="what is cut"
    )
    selection: Selection = setting(
        "gaussian",
        "how channels inside the blocks are chosen; those of residual streams are always cut alike. With a budget, "
        "blocks are ranked within each stage",
        choices=SELECTIONS,
        aliases={"local": "uniform"},
        group="what is cut",
    )
    whole_heads: bool | None = setting(
        None,
        "cut whole attention heads first, then channels inside those that stay; if None, whenever blocks are ranked "
        "together, so that selection uniform gives the published shapes",
        option="",
    )
    recovery_images: int | None = setting(
        None,
        "photographs on which the layers of a cut model are refitted by least squares, before any training (beyond the "
        "paper); if there are fewer, random views of them are added; 0 for none. If not given: 96 at 512 px, or as "
        "many pixels at another size; 32 with views; fewer if --minutes is short",
        least=0,
        group="what is cut",
    )
    procedure: ProcedureName = setting(
        "alternate", "order of cutting and aligning", choices=PROCEDURES, group="procedure"
    )
    stage: StageName = setting("all", "what of the procedure is run", choices=STAGES, group="procedure")
    bottleneck_alpha: AlphaName = setting(
        "constant", "alpha while bottlenecks are aligned (eqs. 5, 6)", choices=ALPHAS, group="procedure"
    )
    embedding_alpha: AlphaName = setting(
        "dynamic", "alpha while embeddings are aligned (eqs. 7, 8)", choices=ALPHAS, group="procedure"
    )
    alpha_epochs: int | None = setting(
        None,
        "N above (paper: 10); half of each stage if not given, which is the paper's 10 of 20",
        least=1,
        group="procedure",
    )
    loss: ErrorName = setting("relative", "how features are compared", choices=ERRORS, group="procedure")
    steps: int | None = setting(
        None,
        "optimizer steps in all, half for each aligning stage; 0 to cut and refit only",
        least=0,
        group="training",
        one_of="length",
    )
    epochs: int | None = setting(
        None,
        "passes over the photographs in all; 40 if no length is given (SlimSAM)",
        least=1,
        group="training",
        one_of="length",
    )
    learning_rate: float = setting(
        1e-4,
        "of Adam, at its peak (paper: 1e-4). Without recovery 1e-3 is better for short runs",
        above=0,
        example="0.001",
        group="training",
    )
    augment: bool = setting(
        True, "do not crop and mirror photographs at random", group="training", option="--no-augment"
    )
    views: int | None = setting(
        None,
        "take N fixed random views of each photograph in turns, not a new one each time, which --cache can keep",
        least=1,
        group="training",
    )
    cache: Path | None = setting(
        None,
        "keep the teacher's final embeddings there, computed once for all epochs and runs; needs --no-augment or "
        "--views. At 1024 px 4 MB a photograph, or 2 MB a view",
        group="training",
        metavar="DIR",
    )

    def __post_init__(self) -> None:
        self._check_size()
        super().__post_init__()
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
        chosen: list[tuple[str, Registry, str]] = [
            ("criterion", criteria, self.importance),
            ("selection", selections, self.selection),
            ("loss", losses, self.loss),
        ]
        registered = {what: found for what, registry, name in chosen if (found := registry.origin(name)) is not None}
        return {**super().to_dict(), "latency_table": digest, **({"registered": registered} if registered else {})}

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
