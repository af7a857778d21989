"""Configuration of prompt encoder and mask decoder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from samlet.errors import InputError
from samlet.io.schema import shown
from samlet.models.checks import MOST_LAYERS, check_positive


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """SAM's two-way mask decoder and its prompt encoder, or another model's variation of both.

    Attributes:
        style: name of the folder that holds it: `sam`, the same in every SAM of the two papers, `sam2` or
            `efficient_sam`.
        depth: two-way blocks.
        num_heads: heads of every attention.
        mlp_dim: hidden width of the MLP of a block.
        num_multimask_outputs: masks of an ambiguous prompt, beside the single mask.
        iou_head_depth: layers of the head that predicts IoU.
        iou_head_hidden_dim: hidden width of that head.
        mask_in_channels: channels of the last convolution but one over a mask prompt.
        norm_eps: epsilon of the layer norms of the blocks (segment-anything 1e-5, transformers 1e-6).
        object_score: whether there is a head that says if an object is there at all; `sam2` alone.
    """

    style: str = "sam"
    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    mask_in_channels: int = 16
    norm_eps: float = 1e-5
    object_score: bool = False

    def __post_init__(self) -> None:
        from samlet.models.decoders import DECODERS

        widths = dataclasses.asdict(self)
        for name in ("norm_eps", "object_score", "style"):
            widths.pop(name)
        if not isinstance(self.style, str) or self.style not in DECODERS:
            raise InputError(f"DecoderConfig.style is {shown(self.style)}; expected one of {', '.join(DECODERS)}")
        check_positive("DecoderConfig", **widths)
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, float) or not 0 < self.norm_eps < 1:
            raise InputError(f"DecoderConfig.norm_eps is {shown(self.norm_eps)}; expected a number between 0 and 1")
        if not isinstance(self.object_score, bool):
            raise InputError(f"DecoderConfig.object_score is {shown(self.object_score)}; expected true or false")
        for name in ("depth", "iou_head_depth", "num_multimask_outputs"):
            if widths[name] > MOST_LAYERS:
                raise InputError(f"DecoderConfig.{name} is {widths[name]}; expected at most {MOST_LAYERS}")

    def to_dict(self) -> dict[str, Any]:
        """All fields; `object_score` only where it is set, so that other models are written as ever."""
        values = dataclasses.asdict(self)
        if not self.object_score:
            values.pop("object_score")
        return values
