"""Settings of a slimming run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from samlet.errors import InputError
from samlet.slimming.losses import ERRORS, ErrorName


@dataclass(frozen=True, kw_only=True)
class SlimConfig:
    """How to slim.

    Attributes:
        ratio: share of the channels to cut, between 0 and 1.
        steps: optimizer steps in all, half for each aligning stage; None to go by `epochs`.
        epochs: passes over the photographs in all; 40 if `steps` is None too (SlimSAM's number at ratio 0.5).
        image_size: side of the encoder's input while slimming, pixels; the model's own if None.
        seed: of noise, order and views.
        learning_rate: of Adam, at its peak.
        batch_size: images whose gradients make one step, accumulated one by one (SlimSAM: 4).
        scoring_images: photographs that importance is estimated on.
        augment: crop and mirror photographs at random.
        loss: how features are compared: `mse` as in the paper, or `relative`, mse over the target's variance.
    """

    ratio: float = 0.5
    steps: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    seed: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 4
    scoring_images: int = 64
    augment: bool = True
    loss: ErrorName = "relative"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and 0 < self.ratio < 1):
            raise InputError(f"ratio is {self.ratio:g}; expected a number between 0 and 1, both excluded, such as 0.5")
        if self.steps is not None and self.epochs is not None:
            raise InputError(f"steps {self.steps} and epochs {self.epochs} were both given; give one of them")
        for name, least in (("steps", 2), ("epochs", 1), ("batch_size", 1), ("scoring_images", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; expected at least {least}")
        if self.loss not in ERRORS:
            raise InputError(f"loss {self.loss!r} is unknown; expected one of {', '.join(ERRORS)}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected a whole number from 0 to {2**32 - 1}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning rate is {self.learning_rate:g}; expected a positive number such as 0.001")

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all for so many training photographs."""
        if self.steps is not None:
            return self.steps
        return max(2, math.ceil((self.epochs or 40) * images / self.batch_size))
