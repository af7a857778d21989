"""What everything mode can be asked for: declared once, for Python and for the command line.

Nothing here imports torch or numpy, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from samlet.bounds import AREA, CROP_DOWNSCALE, CROP_N_LAYERS, POINTS_PER_BATCH, POINTS_PER_SIDE
from samlet.errors import InputError
from samlet.precisions import Arithmetic
from samlet.settings import check_settings, documented, setting

if TYPE_CHECKING:
    from samlet.inference.everything.grids import Points

Strategy = Literal["grid", "hierarchical"]
OutputMode = Literal["coco_rle", "binary_mask", "polygon"]
CoverageRule = Literal["consensus", "logits"]

STRATEGIES: dict[Strategy, str] = {
    "grid": "every point",
    "hierarchical": "a sparse grid first, then points that no good mask covers (TinySAM, section 3.4)",
}
OUTPUT_MODES: dict[OutputMode, str] = {
    "coco_rle": "run-length code",
    "polygon": "COCO polygons, exact along the pixels",
    "binary_mask": "whole masks, which the command line writes as PNG files in masks/",
}
COVERAGES: dict[CoverageRule, str] = {
    "consensus": "judged by several masks and the image embedding; points whose neighbours gave nothing are left out",
    "logits": "where good and stable masks have high logits, as in TinySAM",
}
PRECISIONS = {
    "auto": "bf16 where the processor multiplies it",
    "bf16": "image features of the mask decoder in bfloat16",
    "fp32": "in float32",
}

_REFINE = 0.23


@documented
@dataclass(frozen=True)
class EverythingOptions:
    """Options of `MaskGenerator`. Names and defaults are segment-anything's where it has them."""

    strategy: Strategy = setting("grid", "which points are asked", choices=STRATEGIES)
    points_per_side: int | None = setting(
        32,
        "points a side of the grid over each crop; None with `point_grids`",
        least=POINTS_PER_SIDE.least,
        most=POINTS_PER_SIDE.most,
    )
    points_per_batch: int = setting(
        4,
        "prompts decoded together: larger batches fall out of a CPU's cache; a GPU likes 64",
        least=POINTS_PER_BATCH.least,
        most=POINTS_PER_BATCH.most,
    )
    point_grids: tuple[Points, ...] | None = setting(
        None,
        "points in [0, 1]², x before y, an (N, 2) array for each crop layer, instead of `points_per_side`",
        option="",
    )
    pred_iou_thresh: float | None = setting(
        None, "masks with a predicted IoU of at most this are dropped", default="0.88, for SAM 2 0.8", least=0, most=1
    )
    stability_score_thresh: float = setting(0.95, "masks with a stability below this are dropped", least=0, most=1)
    stability_score_offset: float = setting(
        1.0, "stability is the IoU of the masks at logits so far above and below the threshold", least=0
    )
    box_nms_thresh: float = setting(
        0.7,
        "if two boxes overlap by an IoU above this, the mask of lower score is dropped",
        least=0,
        most=1,
    )
    crop_n_layers: int = setting(
        0, "layer i also runs on 2^i x 2^i crops of the image", least=CROP_N_LAYERS.least, most=CROP_N_LAYERS.most
    )
    crop_nms_thresh: float = setting(
        0.7, "as --box-nms-thresh, between crops; the smaller crop's mask stays", least=0, most=1
    )
    crop_overlap_ratio: float = setting(
        512 / 1500, "overlap of crops in the first layer, as a share of the shorter side", least=0, below=1
    )
    crop_n_points_downscale_factor: int = setting(
        1,
        "points a side are divided by this to the power of the layer",
        least=CROP_DOWNSCALE.least,
        most=CROP_DOWNSCALE.most,
    )
    min_mask_region_area: int = setting(
        0, "smaller holes and islands of masks are removed, pixels", least=AREA.least, most=AREA.most
    )
    max_mask_region_area: int = setting(
        0, "larger masks are dropped, pixels; 0 for none", least=AREA.least, most=AREA.most
    )
    mask_nms_thresh: float = setting(
        1.0, "if two masks overlap by an IoU above this, that of lower score is dropped; 1 for none", least=0, most=1
    )
    output_mode: OutputMode = setting("coco_rle", "how masks are written", choices=OUTPUT_MODES)
    sparse_points_per_side: int | None = setting(
        None,
        "hierarchical: points a side of the first round; a quarter of --points-per-side if not given",
        least=POINTS_PER_SIDE.least,
        most=POINTS_PER_SIDE.most,
    )
    settling: CoverageRule = setting("consensus", "hierarchical: which areas need no more prompts", choices=COVERAGES)
    high_threshold: float = setting(
        8.5,
        "hierarchical: areas with logits above this need no more prompts (TinySAM: 8.5); inf asks the whole grid",
        infinite=True,
    )
    refine: float | None = setting(
        None,
        "hierarchical: share of the saved prompts to spend on a grid of twice the density, where least is covered; "
        "0.23 if not given, and none with --settling logits",
        least=0,
        most=1,
    )
    exact: bool = setting(
        False,
        "compute every mask in full and in float32, as segment-anything does: the same answer, about three times as "
        "slow; without it masks are tried on samples and computed where they matter",
    )
    precision: Arithmetic = setting("auto", "arithmetic", choices=PRECISIONS)
    image_size: int | None = setting(
        None, "side of the encoder's input, pixels; the model's own if not given", option=""
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.refine and self.settling == "logits":
            raise InputError(f"refine is {self.refine}, and settling logits has no finer round; use settling consensus")
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
        import numpy as np

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
        from samlet.inference.everything.grids import as_points, point_grid

        return (
            point_grid(self.points_on_side(layer)) if self.point_grids is None else as_points(self.point_grids[layer])
        )


def option_names() -> tuple[str, ...]:
    """Names of all options."""
    return tuple(field.name for field in fields(EverythingOptions))
