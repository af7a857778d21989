"""Settings of a distillation run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from samlet.errors import InputError
from samlet.training.engine import PRECISIONS, PrecisionName
from samlet.training.loop import SCHEDULES, ScheduleName

TrainName = Literal["encoder", "all"]
TRAINED: dict[TrainName, str] = {
    "all": "image encoder and mask decoder",
    "encoder": "the image encoder alone, as in MobileSAM",
}
"""What of the student is trained; its prompt encoder never is."""

ClicksName = Literal["accumulate", "replace"]
CLICKS: dict[ClicksName, str] = {
    "accumulate": "every round adds a click where truth and prediction differ, foreground or background (SAM's)",
    "replace": "every round asks with one new click in what the prediction missed (TinySAM, eqs. 8 and 9)",
}
"""What a round of hard prompt sampling does."""

WEIGHTS = ("embedding", "token", "output", "mask", "iou")
"""The terms of the loss, by the names of their weights."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """How to distil.

    Attributes:
        steps: optimizer steps; None to go by `epochs`.
        epochs: passes over the photographs; 8 if `steps` is None too (TinySAM's).
        image_size: side of the student's input, pixels; its own if None.
        teacher_size: side of the teacher's input; the student's if None.
        seed: of order, masks, prompts and views.
        train: see `TRAINED`.
        embedding: α, weight of the distance of the image embeddings.
        token: β, of the distance of the output tokens.
        output: γ, of the distance of the mask logits.
        mask: of focal and dice loss against the true masks.
        iou: of the distance of predicted and actual IoU.
        hard_masks: weight the distance of each mask's logits by how much worse than the teacher the student is there.
        rounds: most rounds of hard prompt sampling; each photograph draws its own number from 0 to this.
        clicks: see `CLICKS`.
        prompts: prompts of a step, over all its photographs (TinySAM: 64).
        boxes: share of the prompts that are boxes.
        box_noise: deviation of a box's corners, as a share of its sides.
        learning_rate: of Adam, at its peak.
        layer_decay: factor of the learning rate from each block of the encoder to the one before.
        schedule: what the learning rate does, see `training.loop.SCHEDULES`.
        patience: epochs without gain before a plateau halves it.
        batch_size: photographs whose gradients make one step.
        micro_batch: photographs computed at once.
        clip: largest norm of the gradient.
        augment: mirror, scale and colour the photographs at random, their masks with them.
        cache: folder for the teacher's embeddings; None for one in the workspace, which the end of the run removes.
        precision: see `training.engine.PRECISIONS`.
        checkpoint_every: steps between checkpoints; None for one a minute.
    """

    steps: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    teacher_size: int | None = None
    seed: int = 0
    train: TrainName = "all"
    embedding: float = 1.0
    token: float = 1.0
    output: float = 0.1
    mask: float = 1.0
    iou: float = 1.0
    hard_masks: bool = True
    rounds: int = 9
    clicks: ClicksName = "accumulate"
    prompts: int = 64
    boxes: float = 0.5
    box_noise: float = 0.05
    learning_rate: float = 1e-4
    layer_decay: float = 0.8
    schedule: ScheduleName = "cosine"
    patience: int = 4
    batch_size: int = 4
    micro_batch: int = 1
    clip: float = 1.0
    augment: bool = False
    cache: Path | None = None
    precision: PrecisionName = "fp32"
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise InputError(f"steps {self.steps} and epochs {self.epochs} were both given; give one of them")
        least = dict.fromkeys(
            ("steps", "epochs", "batch_size", "micro_batch", "patience", "prompts", "checkpoint_every"), 1
        )
        for name, smallest in {**least, "rounds": 0}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name} is {value}; expected at least {smallest}")
        choices: dict[str, Any] = {
            "train": TRAINED,
            "clicks": CLICKS,
            "schedule": SCHEDULES,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(known)}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected a whole number from 0 to {2**32 - 1}")
        for name in ("learning_rate", "clip", "layer_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name.replace('_', ' ')} is {value:g}; expected a positive number such as 0.001")
        if self.layer_decay > 1:
            raise InputError(f"layer decay is {self.layer_decay:g}; expected at most 1, which turns it off")
        for name in WEIGHTS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"the weight of {name} is {value:g}; expected 0 or a positive number")
        if not any(getattr(self, name) for name in WEIGHTS):
            raise InputError("the weights of all terms are 0; expected at least one term to train with")
        if not 0 <= self.boxes <= 1:
            raise InputError(f"boxes is {self.boxes:g}; expected a share from 0 to 1")
        if not 0 <= self.box_noise <= 1:
            raise InputError(f"box noise is {self.box_noise:g}; expected a share from 0 to 1")
        if self.prompts < self.batch_size:
            raise InputError(
                f"{self.prompts} prompts of a step cannot be shared by {self.batch_size} photographs; expected at "
                "least one for each"
            )
        if self.cache is not None and self.augment:
            raise InputError(
                f"cache {self.cache} keeps the embeddings of photographs as they are, and augmenting changes them; "
                "leave one of the two out"
            )

    @property
    def decodes(self) -> bool:
        """Whether masks are compared; with the embedding's term alone no prompt is asked."""
        return any(getattr(self, name) for name in WEIGHTS if name != "embedding")

    @property
    def prompts_per_image(self) -> int:
        """Prompts of one photograph."""
        return max(1, self.prompts // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all for so many training photographs."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 8) * images / self.batch_size))

    def epoch_steps(self, images: int) -> int:
        """Optimizer steps of one pass over so many training photographs."""
        return max(1, round(images / self.batch_size))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what does not change the result."""
        values = dataclasses.asdict(self)
        for name in ("cache", "checkpoint_every"):
            del values[name]
        return values
