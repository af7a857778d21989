"""Settings that every kind of training has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from samlet.errors import InputError
from samlet.runs.distributed import PRECISIONS, PrecisionName
from samlet.training.budget import check_minutes
from samlet.training.loop import SCHEDULES, LoopConfig, ScheduleName

_MOST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the training loop is told, whatever is trained.

    Attributes:
        steps: optimizer steps in all; None to go by `epochs` or `minutes`.
        epochs: passes over the photographs; a number of the method's own if `steps` and `minutes` are None too.
        minutes: time of the whole run; the number of steps follows, see `training.budget`.
        image_size: side of the encoder's input while training, pixels; the model's own if None.
        seed: of everything that is drawn.
        learning_rate: of Adam, at its peak.
        schedule: what the learning rate does, see `training.loop.SCHEDULES`.
        patience: epochs without gain before a plateau halves it.
        batch_size: photographs whose gradients make one step.
        micro_batch: photographs computed at once.
        clip: largest norm of the gradient.
        augment: change photographs at random.
        cache: folder for the teacher's embeddings; needs `augment` off.
        precision: see `training.engine.PRECISIONS`.
        checkpoint_every: steps between checkpoints; None for one a minute.
        average: decay of a moving average of the weights that is kept in place of the last ones, such as 0.999; None
            for none.
        validate_every: steps between measurements on the photographs held out; None for a pass.
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    image_size: int | None = None
    seed: int = 0
    learning_rate: float = 1e-4
    schedule: ScheduleName = "cosine"
    patience: int = 4
    batch_size: int = 4
    micro_batch: int = 1
    clip: float = 1.0
    augment: bool = False
    cache: Path | None = None
    precision: PrecisionName = "fp32"
    checkpoint_every: int | None = None
    average: float | None = None
    validate_every: int | None = None

    def check(self, least: Mapping[str, int], choices: Mapping[str, Any], positive: tuple[str, ...] = ()) -> None:
        """Refuse what cannot work: of the settings here and of some more.

        Args:
            least: smallest values.
            choices: known values.
            positive: names of positive numbers.

        Raises:
            InputError: the first thing that is wrong.
        """
        lengths = {name: getattr(self, name) for name in ("steps", "epochs", "minutes")}
        given = [f"{name} {value:g}" for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} were given together; give one of them")
        check_minutes(self.minutes)
        counts = ("steps", "epochs", "batch_size", "micro_batch", "patience", "checkpoint_every", "validate_every")
        ours = dict.fromkeys(counts, 1)
        for name, smallest in {**ours, **least}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name} is {value}; expected at least {smallest}")
        for name, known in {"schedule": SCHEDULES, "precision": PRECISIONS, **choices}.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; expected one of {', '.join(known)}")
        if not 0 <= self.seed <= _MOST_SEED:
            raise InputError(f"seed is {self.seed}; expected a whole number from 0 to {_MOST_SEED}")
        for name in ("learning_rate", "clip", *positive):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name.replace('_', ' ')} is {value:g}; expected a positive number such as 0.001")
        if self.average is not None and not 0 < self.average < 1:
            raise InputError(f"average is {self.average:g}; expected a number between 0 and 1, such as 0.999")
        if self.cache is not None and self.augment and self.fixed_views is None:
            raise InputError(
                f"cache {self.cache} keeps the embeddings of photographs as they are, and augmenting changes them at "
                "random; turn that off (augment=False; `samlet slim` has --no-augment, or --views for fixed views) or "
                "leave the cache out"
            )

    @property
    def fixed_views(self) -> int | None:
        """How many views of each photograph there are in all, where it is not a new one each time."""
        return None

    def epoch_steps(self, images: int) -> int:
        """Optimizer steps of one pass over so many training photographs."""
        return max(1, round(images / self.batch_size))

    def within(self, steps: int, each: int, images: int, validations: int) -> Self:
        """These settings with the number of steps that a budget of time allows.

        Where measurements steer nothing they are made rarer than after each pass, so that they take their share of the
        time and no more; the weights are those of a run by `steps`.

        Args:
            steps: in all.
            each: steps of each stage.
            images: photographs of a pass.
            validations: most measurements of a stage.
        """
        every = None if self.schedule == "plateau" else max(self.epoch_steps(images), -(-each // validations))
        return dataclasses.replace(self, steps=steps, minutes=None, validate_every=every)

    def loop(self, steps: int, images: int) -> LoopConfig:
        """Settings of a stage of so many steps, validated after each pass over so many photographs."""
        return LoopConfig(
            steps=steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            micro_batch=self.micro_batch,
            schedule=self.schedule,
            patience=self.patience,
            clip=self.clip,
            validate_every=self.validate_every or self.epoch_steps(images),
            checkpoint_every=self.checkpoint_every,
            average=self.average,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what does not change the result."""
        values = dataclasses.asdict(self)
        for name in ("cache", "checkpoint_every"):
            del values[name]
        return values
