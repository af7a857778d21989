"""Settings of a distillation run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError
from samlet.settings import documented, setting
from samlet.training.settings import TrainingSettings

TrainName = Literal["encoder", "all"]
TRAINED: dict[TrainName, str] = {
    "all": "image encoder and mask decoder",
    "encoder": "the image encoder alone, as in MobileSAM",
}
"""What of the student is trained; its prompt encoder never is."""

ClicksName = Literal["accumulate", "replace"]
CLICKS: dict[ClicksName, str] = {
    "accumulate": "a round adds a click where truth and prediction differ, foreground or background (SAM's)",
    "replace": "a round asks with one new click in what the prediction missed (TinySAM, eqs. 8 and 9)",
}
"""What a round of hard prompt sampling does."""

WEIGHTS = ("embedding", "token", "output", "mask", "iou")
"""The terms of the loss, by the names of their weights."""


def _weight(name: str, default: float, what: str) -> Any:
    """The weight of a term of the loss."""
    return setting(default, what, least=0, group="losses", option=f"--{name}-weight")


@documented
@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainingSettings):
    """How to distil.

    Without `steps` and `epochs` it is 8 epochs (TinySAM's). Without `cache` the teacher's embeddings are kept in the
    run's folder until it ends.
    """

    teacher_size: int | None = setting(
        None,
        "side of the teacher's input; the student's if not given. Its embedding and masks are resampled to the "
        "student's grid",
        least=IMAGE_SIZE.least,
        most=IMAGE_SIZE.most,
    )
    embedding: float = _weight("embedding", 1.0, "alpha, of the distance of the image embeddings (eq. 2)")
    token: float = _weight("token", 1.0, "beta, of the distance of the decoder's output tokens (eq. 3)")
    output: float = _weight("output", 0.1, "gamma, of the distance of the mask logits (eq. 4)")
    mask: float = _weight("mask", 1.0, "of focal and dice loss against the true masks (eq. 7)")
    iou: float = _weight("iou", 1.0, "of the distance of predicted and actual IoU (eq. 7)")
    hard_masks: bool = setting(
        True,
        "give all masks the same weight; otherwise masks count more where the teacher is better than the student "
        "(eq. 6), and the mean weight of a photograph's masks is 1",
        group="losses",
        option="--no-hard-masks",
    )
    train: TrainName = setting("all", "what of the student is trained", choices=TRAINED, group="losses")
    rounds: int = setting(
        9,
        "most rounds of hard prompt sampling; each prompt draws its own number from 0 to N, each as likely as the "
        "others; 0 for easy prompts (TinySAM: 9)",
        least=0,
        most=1000,
        group="prompts",
    )
    clicks: ClicksName = setting("accumulate", "what a round does", choices=CLICKS, group="prompts")
    prompts: int = setting(
        64, "prompts of a step, over all its photographs (TinySAM: 64)", least=1, most=1 << 16, group="prompts"
    )
    boxes: float = setting(0.5, "share of the prompts that are boxes", least=0, most=1, group="prompts")
    box_noise: float = setting(
        0.05, "deviation of a box's corners, as a share of its sides", least=0, most=1, group="prompts"
    )
    steps: int | None = setting(None, "optimizer steps", least=1, group="training", one_of="length")
    epochs: int | None = setting(
        None,
        "passes over the photographs; 8 if no length is given (TinySAM's)",
        least=1,
        group="training",
        one_of="length",
    )
    layer_decay: float = setting(
        0.8,
        "factor of the learning rate from each block of the encoder to the one before; 1 for none, which a student "
        "from scratch wants",
        above=0,
        most=1,
        group="training",
    )
    augment: bool = setting(False, "mirror, scale and colour the photographs at random", group="training")
    calibrate: int = setting(
        0,
        "after training, put predicted IoU and stability on the teacher's scale, with so many of the photographs to "
        "train on; no mask changes. For students that learned from the true masks alone, which predict less",
        least=0,
        most=1 << 16,
        group="training",
        metavar="N",
    )
    cache: Path | None = setting(
        None,
        "keep the teacher's embeddings there for other runs. Without it they are kept until the run ends. "
        "4 MB an image at 1024 px",
        group="training",
        metavar="DIR",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(getattr(self, name) for name in WEIGHTS):
            raise InputError("the weights of all terms are 0; expected at least one term to train with")
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
    def asks_teacher(self) -> bool:
        """Whether a term compares with the teacher; with the true masks alone it is not run."""
        return any((self.embedding, self.token, self.output))

    @property
    def prompts_per_image(self) -> int:
        """Prompts of one photograph."""
        return max(1, self.prompts // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all for so many training photographs."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 8) * images / self.batch_size))
