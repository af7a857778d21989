"""Keyword arguments of `MaskGenerator`, for editors; a test holds them to the fields of `EverythingOptions`."""

from __future__ import annotations

from typing import TypedDict

from samlet.inference.everything.grids import Points
from samlet.inference.everything.options import CoverageRule, OutputMode, Strategy
from samlet.precisions import Arithmetic


class EverythingKeywords(TypedDict, total=False):
    """Fields of `EverythingOptions`; see there."""

    strategy: Strategy
    points_per_side: int | None
    points_per_batch: int
    point_grids: tuple[Points, ...] | None
    pred_iou_thresh: float | None
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float
    crop_n_layers: int
    crop_nms_thresh: float
    crop_overlap_ratio: float
    crop_n_points_downscale_factor: int
    min_mask_region_area: int
    max_mask_region_area: int
    mask_nms_thresh: float
    output_mode: OutputMode
    sparse_points_per_side: int | None
    settling: CoverageRule
    high_threshold: float
    refine: float | None
    exact: bool
    precision: Arithmetic
    image_size: int | None
