"""Keyword arguments of `distill`, so that editors know them; a test holds them to the fields of `DistillConfig`."""

from __future__ import annotations

from samlet.distillation.config import ClicksName, TrainName
from samlet.training.keywords import TrainingKeywords


class DistillKeywords(TrainingKeywords, total=False):
    """Fields of `DistillConfig`; see there."""

    teacher_size: int | None
    embedding: float
    token: float
    output: float
    mask: float
    iou: float
    hard_masks: bool
    train: TrainName
    rounds: int
    clicks: ClicksName
    prompts: int
    boxes: float
    box_noise: float
    layer_decay: float
    calibrate: int
    steps: int | None
    epochs: int | None
    minutes: float | None
    image_size: int | None
    seed: int
    learning_rate: float
