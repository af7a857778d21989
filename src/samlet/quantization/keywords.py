"""Keyword arguments of `quantize`, so that editors know them; a test holds them to the fields of `QuantConfig`."""

from __future__ import annotations

from typing import TypedDict

from samlet.quantization.config import Metric, Scheme


class QuantKeywords(TypedDict, total=False):
    """Fields of `QuantConfig`; see there."""

    weights: int
    activations: int
    mixed: float | None
    weight_group: int | None
    keep_float: tuple[str, ...]
    metric: Metric
    scheme: Scheme
    calibration_images: int
    prompts: int
    image_size: int | None
    candidates: int
    low: float
    high: float
    rounds: int
    samples: int
    shrinkage: float
    seed: int
