"""Settings that every kind of training has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError
from samlet.precisions import Arithmetic
from samlet.runs.precision import PRECISIONS
from samlet.settings import MOST_SEED, check_settings, documented, setting

ScheduleName = Literal["cosine", "plateau", "constant"]
SCHEDULES: dict[ScheduleName, str] = {
    "cosine": "warm-up, then falls to 0 over each stage",
    "plateau": "halved after so many epochs (patience) without gain on the photographs held out (SlimSAM's)",
    "constant": "stays after a warm-up",
}
"""What the learning rate does."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Settings of one training stage.

    Attributes:
        steps: optimizer steps.
        learning_rate: of Adam, at its peak.
        batch_size: photographs of a step, over all processes.
        micro_batch: photographs that are computed at once; their gradients are accumulated.
        schedule: see `SCHEDULES`.
        warmup: share of the steps, at most 200, in which the learning rate rises from 0; none with `plateau`.
        patience: validations without gain before a plateau halves the learning rate.
        clip: largest norm of the gradient.
        validate_every: steps between validations; there is one at the end in any case.
        checkpoint_every: steps between checkpoints; None for one a minute. There is one at the end in any case.
        average: decay of a moving average of the weights, which is measured and kept in place of the last ones; None
            for none.
    """

    steps: int
    learning_rate: float
    batch_size: int = 4
    micro_batch: int = 1
    schedule: ScheduleName = "cosine"
    warmup: float = 0.05
    patience: int = 4
    clip: float = 1.0
    validate_every: int | None = None
    checkpoint_every: int | None = None
    average: float | None = None


@documented
@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the training loop is told, whatever is trained."""

    steps: int | None = setting(None, "optimizer steps", least=1, group="training", one_of="length")
    epochs: int | None = setting(None, "passes over the photographs", least=1, group="training", one_of="length")
    minutes: float | None = setting(
        None,
        "time of the whole command. The first batches are timed to find how many steps fit; the report has the "
        "number, and --steps with it makes the same weights",
        above=0,
        example="4 or 0.5",
        group="training",
        one_of="length",
        metavar="M",
    )
    image_size: int | None = setting(
        None,
        "side of the encoder's square input in pixels, a multiple of 16 (SAM 2: of 32); the model's own (1024) if not "
        "given. Smaller is faster and coarser",
        least=IMAGE_SIZE.least,
        most=IMAGE_SIZE.most,
    )
    seed: int = setting(0, "of everything that is drawn", least=0, most=MOST_SEED, option="")
    learning_rate: float = setting(1e-4, "of Adam, at its peak", above=0, example="0.001", group="training")
    augment: bool = setting(False, "change the photographs at random", group="training")
    cache: Path | None = setting(
        None, "keep the teacher's embeddings there, for other runs too", group="training", metavar="DIR"
    )
    schedule: ScheduleName = setting("cosine", "what the learning rate does", choices=SCHEDULES, group="training")
    patience: int = setting(4, "epochs without gain before a plateau halves it (SlimSAM: 4)", least=1, group="training")
    batch_size: int = setting(
        4,
        "images whose gradients make one step, over all processes (SlimSAM: 4)",
        least=1,
        most=1 << 16,
        group="training",
    )
    micro_batch: int = setting(
        1,
        "images computed at once, the rest is accumulated, with the same result but for rounding; more is faster for "
        "small images and on GPUs and takes more memory",
        least=1,
        most=4096,
        group="training",
    )
    clip: float = setting(1.0, "largest gradient norm", above=0, group="training")
    precision: Arithmetic = setting("auto", "arithmetic", choices=PRECISIONS, group="training")
    average: float | None = setting(
        None,
        "keep a moving average of the weights in place of the last ones; X is the share that a step keeps, such as "
        "0.999. Pays in long runs with a constant schedule",
        above=0,
        below=1,
        example="0.999",
        group="training",
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints; one a minute if not given", least=1, group="training"
    )
    validate_every: int | None = setting(
        None, "steps between measurements on the photographs held out; a pass if not given", least=1, option=""
    )

    def __post_init__(self) -> None:
        given = [
            f"{name} {value:g}" for name in ("steps", "epochs", "minutes") if (value := getattr(self, name)) is not None
        ]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} were given together; give one of them")
        check_settings(self)
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
