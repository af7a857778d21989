"""What everything mode can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import torch

from samlet.bounds import AREA, CROP_DOWNSCALE, CROP_N_LAYERS, POINTS_PER_BATCH, POINTS_PER_SIDE
from samlet.errors import InputError
from samlet.inference.everything.grids import Points, point_grid
from samlet.models.processors import multiplies_bf16

Strategy = Literal["grid", "hierarchical"]
OutputMode = Literal["coco_rle", "binary_mask", "polygon"]
Settled = Literal["consensus", "logits"]
Precision = Literal["auto", "fp32", "bf16"]

_REFINE = 0.23
_BOUNDS = {
    "points_per_side": POINTS_PER_SIDE,
    "sparse_points_per_side": POINTS_PER_SIDE,
    "points_per_batch": POINTS_PER_BATCH,
    "crop_n_layers": CROP_N_LAYERS,
    "crop_n_points_downscale_factor": CROP_DOWNSCALE,
    "min_mask_region_area": AREA,
    "max_mask_region_area": AREA,
}


@dataclass(frozen=True)
class EverythingOptions:
    """Options of `MaskGenerator`. Names and defaults are segment-anything's where it has them.

    Attributes:
        strategy: `grid` asks at every point; `hierarchical` first at a sparse subset, then only outside the regions
            that it settled (TinySAM, section 3.4).
        points_per_side: of the grid over each crop; None where `point_grids` says the points.
        points_per_batch: prompts decoded together. Larger batches fall out of a CPU's cache; a GPU likes 64.
        point_grids: points in [0, 1]², x before y, an (N, 2) array for each crop layer, instead of `points_per_side`.
        pred_iou_thresh: masks of a predicted IoU of at most this are dropped; if None 0.88, or 0.8 for SAM 2, as
            published.
        stability_score_thresh: masks less stable than this are dropped.
        stability_score_offset: stability is the IoU of the masks at logits so far above and below the threshold.
        box_nms_thresh: of two masks whose boxes' IoU exceeds this, that of lower predicted IoU is dropped.
        crop_n_layers: layer i runs on 2^i x 2^i crops of the image as well.
        crop_nms_thresh: as `box_nms_thresh`, between crops; the smaller crop's mask stays.
        crop_overlap_ratio: overlap of crops in the first layer, as a share of the image's shorter side.
        crop_n_points_downscale_factor: points a side are divided by this to the power of the layer.
        min_mask_region_area: smaller islands and holes of masks are removed, pixels; 0 for none.
        max_mask_region_area: larger masks are dropped, pixels; 0 for none.
        mask_nms_thresh: of two masks whose own IoU exceeds this, that of lower predicted IoU is dropped; 1 for none.
        output_mode: `coco_rle`, `binary_mask` (H, W) bool, or `polygon` (COCO's lists x0, y0, x1, y1, …).
        sparse_points_per_side: of the first hierarchical round; a quarter of `points_per_side` if None.
        settling: what counts as settled: `consensus` (see `coverage`), which also passes over points whose neighbours
            gave nothing, or `logits`, TinySAM's rule: the logits of masks that are good and stable.
        high_threshold: a place is settled above it (TinySAM: a logit of 8.5); infinity asks everywhere, which with
            `consensus` gives the grid's answer.
        refine: share of the prompts that were saved, spent where least is settled on a grid of twice the density; 0.23
            if None. TinySAM's rule has no such round.
        exact: compute every mask in full, in float32, as segment-anything does; slower. Without it, masks are
            judged on samples and computed where they matter.
        precision: of the decoder's image features: `bf16`, `fp32`, or `auto` for bf16 where the processor multiplies
            it; `exact` always takes fp32.
        image_size: side of the encoder's input, pixels; the model's own if None.
    """

    strategy: Strategy = "grid"
    points_per_side: int | None = 32
    points_per_batch: int = 4
    point_grids: tuple[Points, ...] | None = None
    pred_iou_thresh: float | None = None
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    max_mask_region_area: int = 0
    mask_nms_thresh: float = 1.0
    output_mode: OutputMode = "coco_rle"
    sparse_points_per_side: int | None = None
    settling: Settled = "consensus"
    high_threshold: float = 8.5
    refine: float | None = None
    exact: bool = False
    precision: Precision = "auto"
    image_size: int | None = None

    def __post_init__(self) -> None:
        kinds = {"strategy": Strategy, "output_mode": OutputMode, "settling": Settled, "precision": Precision}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise InputError(f"{name} is {value!r}; expected one of {', '.join(get_args(kind))}")
        for name, limits in _BOUNDS.items():
            if (value := getattr(self, name)) is not None:
                limits.check(name, value)
        if not 0 <= self.stability_score_offset < math.inf:
            raise InputError(f"stability_score_offset is {self.stability_score_offset}; expected a logit from 0 on")
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "mask_nms_thresh",
        ):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected a number from 0 to 1")
        if self.refine is not None and not 0 <= self.refine <= 1:
            raise InputError(f"refine is {self.refine}; expected a share from 0 to 1")
        if self.refine and self.settling == "logits":
            raise InputError(f"refine is {self.refine}, and settling logits has no finer round; use settling consensus")
        if not 0 <= self.crop_overlap_ratio < 1:
            raise InputError(f"crop_overlap_ratio is {self.crop_overlap_ratio}; expected a number from 0 up to 1")
        if math.isnan(self.high_threshold):
            raise InputError("high_threshold is not a number; expected a logit such as 8.5")
        self._check_points()

    def _check_points(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise InputError("points_per_side and point_grids exclude each other; give one, and None for the other")
        if self.points_per_side is not None:
            last = self.points_on_side(self.crop_n_layers)
            if last < 1:
                raise InputError(
                    f"points_per_side {self.points_per_side} divided by crop_n_points_downscale_factor leaves no point "
                    f"in crop layer {self.crop_n_layers}; ask for more points or fewer layers"
                )
            if self.sparse_points_per_side is not None and not 1 <= self.sparse_points_per_side <= self.points_per_side:
                raise InputError(
                    f"sparse_points_per_side is {self.sparse_points_per_side}; expected 1 to {self.points_per_side}, "
                    "the points_per_side"
                )
            return
        assert self.point_grids is not None
        if self.strategy == "hierarchical":
            raise InputError("point_grids have no sparse subset; use strategy grid, or points_per_side")
        if len(self.point_grids) != self.crop_n_layers + 1:
            raise InputError(
                f"point_grids has {len(self.point_grids)} entries for {self.crop_n_layers} crop layers; expected "
                f"{self.crop_n_layers + 1}, the whole image first"
            )
        for grid in self.point_grids:
            values = np.asarray(grid, float)
            if values.ndim != 2 or values.shape[1] != 2 or not len(values) or values.min() < 0 or values.max() > 1:
                raise InputError("a point grid is not an (N, 2) array of x, y in [0, 1] with at least one point")

    def points_on_side(self, layer: int) -> int:
        """Points a side of the grid in a crop layer."""
        assert self.points_per_side is not None
        return int(self.points_per_side / self.crop_n_points_downscale_factor**layer)

    def sparse_on_side(self, layer: int) -> int:
        """Points a side of the first hierarchical round in a crop layer."""
        side = self.points_on_side(layer)
        wanted = self.sparse_points_per_side
        return max(1, side // 4 if wanted is None else round(wanted * side / self.points_on_side(0)))

    @property
    def refined_share(self) -> float:
        """Share of the saved prompts for the finer round, where there is one."""
        return _REFINE if self.refine is None else self.refine

    def grid(self, layer: int) -> Points:
        """Points of a crop layer in [0, 1]², (N, 2)."""
        if self.point_grids is not None:
            return np.asarray(self.point_grids[layer], float)
        return point_grid(self.points_on_side(layer))

    def feature_type(self, device: torch.device, weights: torch.dtype) -> torch.dtype:
        """Type of the decoder's image features."""
        if self.exact or self.precision == "fp32":
            return weights
        if self.precision == "bf16" or multiplies_bf16(device):
            return torch.bfloat16
        return weights


def option_names() -> tuple[str, ...]:
    """Names of all options."""
    return tuple(field.name for field in fields(EverythingOptions))
