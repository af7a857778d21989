"""Keyword arguments of `export_model`, so that editors know them; a test holds them to the fields of `ExportConfig`."""

from __future__ import annotations

from typing import TypedDict

from samlet.export.config import DeviceName, Layout
from samlet.precisions import Precision


class ExportKeywords(TypedDict, total=False):
    """Fields of `ExportConfig`; see there."""

    precision: Precision
    image_size: int | None
    full_masks: bool
    layout: Layout
    least_agreement: float | None
    for_device: DeviceName
    force: bool
    prompts: int
    points: int
    photographs: int
    seed: int
