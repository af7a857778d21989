"""Keyword arguments that `slim` and `distill` share, for editors; a test holds them to `TrainingSettings`."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from samlet.precisions import Arithmetic
from samlet.training.settings import ScheduleName


class TrainingKeywords(TypedDict, total=False):
    """Fields of `TrainingSettings`; see there."""

    augment: bool
    cache: Path | None
    schedule: ScheduleName
    patience: int
    batch_size: int
    micro_batch: int
    clip: float
    precision: Arithmetic
    average: float | None
    checkpoint_every: int | None
    validate_every: int | None
