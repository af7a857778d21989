"""Settings of a distillation run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from samlet.errors import InputError
from samlet.training.settings import TrainingSettings

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
class DistillConfig(TrainingSettings):
    """How to distil; see `TrainingSettings` for what is not listed here.

    Without `steps` and `epochs` it is 8 epochs (TinySAM's). `augment` mirrors, scales and colours photographs, their
    masks with them. Without `cache` the teacher's embeddings are kept in the workspace until the run ends.

    Attributes:
        teacher_size: side of the teacher's input; the student's if None.
        train: see `TRAINED`.
        embedding: α, weight of the distance of the image embeddings.
        token: β, of the distance of the output tokens.
        output: γ, of the distance of the mask logits.
        mask: of focal and dice loss against the true masks.
        iou: of the distance of predicted and actual IoU.
        hard_masks: weight the distance of each mask's logits by how much worse than the teacher the student is there;
            the weights of a photograph's masks have the mean 1.
        rounds: most rounds of hard prompt sampling; each prompt draws its own number from 0 to this, uniformly.
        clicks: see `CLICKS`.
        prompts: prompts of a step, over all its photographs (TinySAM: 64).
        boxes: share of the prompts that are boxes.
        box_noise: deviation of a box's corners, as a share of its sides.
        layer_decay: factor of the learning rate from each block of the encoder to the one before.
    """

    teacher_size: int | None = None
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
    layer_decay: float = 0.8

    def __post_init__(self) -> None:
        self.check({"prompts": 1, "rounds": 0}, {"train": TRAINED, "clicks": CLICKS}, ("layer_decay",))
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
