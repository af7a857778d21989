"""The published EfficientSAM state dict (`efficient_sam_vitt.pt`, `efficient_sam_vits.pt`)."""

from __future__ import annotations

import re
from pathlib import Path

from samlet.checkpoints.reading import StateDict, build
from samlet.errors import CheckpointError
from samlet.models import DecoderConfig, Sam, SamConfig, ViTConfig

_HEAD_DIM = 64
_RENAMED = (
    (r"(image_encoder\.blocks\.\d+\.mlp)\.fc1\.", r"\1.lin1."),
    (r"(image_encoder\.blocks\.\d+\.mlp)\.fc2\.", r"\1.lin2."),
    (r"(mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"(mask_decoder\.transformer\.layers\.\d+\.mlp)\.fc\.", r"\1.lin2."),
    (r"mask_decoder\.final_output_upscaling_layers\.0\.([01])\.", r"mask_decoder.output_upscaling.\1."),
    (r"mask_decoder\.final_output_upscaling_layers\.1\.0\.", r"mask_decoder.output_upscaling.3."),
    (r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.\d+)\.0\.", r"\1."),
    (r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.fc\.", r"\1.layers.2."),
)


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    return "prompt_encoder.invalid_points.weight" in tensors and "image_encoder.blocks.0.mlp.fc1.weight" in tensors


def read(tensors: StateDict, path: Path) -> Sam:
    """A model from a published state dict.

    The row of its position table for a class token, which nothing reads, is dropped; the table itself stays at the size
    of the pretraining and is interpolated as the published code does.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    renamed: StateDict = {}
    for name, value in tensors.items():
        for pattern, ours in _RENAMED:
            name = re.sub(f"^{pattern}", ours, name)
        renamed[name] = value
    try:
        config = _infer_config(renamed)
        side = config.position_side
        assert side is not None
        renamed["image_encoder.pos_embed"] = renamed["image_encoder.pos_embed"][:, 1:].unflatten(1, (side, side))
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} looks like EfficientSAM but its encoder cannot be read: {error!r}; expected the names and shapes "
            "of its published state dict"
        ) from error
    decoder = DecoderConfig(style="efficient_sam")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    whole = SamConfig(
        encoder=config,
        decoder=decoder,
        pixel_mean=(255 * mean[0], 255 * mean[1], 255 * mean[2]),
        pixel_std=(255 * std[0], 255 * std[1], 255 * std[2]),
        resize="stretch",
    )
    return build(whole, renamed, path)


def _infer_config(tensors: StateDict) -> ViTConfig:
    prefix = "image_encoder."
    depth = len({name.split(".")[2] for name in tensors if name.startswith(f"{prefix}blocks.")})
    dim, _, patch, _ = tensors[f"{prefix}patch_embed.proj.weight"].shape
    rows = tensors[f"{prefix}pos_embed"].shape[1] - 1
    side = round(rows**0.5)
    if side * side != rows:
        raise ValueError(f"position table of {rows} rows is no square")
    return ViTConfig(
        patch_size=patch,
        embed_dim=dim,
        num_heads=(dim // _HEAD_DIM,) * depth,
        qk_dims=(_HEAD_DIM,) * depth,
        v_dims=(_HEAD_DIM,) * depth,
        mlp_dims=tuple(tensors[f"{prefix}blocks.{i}.mlp.lin1.weight"].shape[0] for i in range(depth)),
        scale_dim=_HEAD_DIM,
        global_blocks=tuple(range(depth)),
        out_channels=tensors[f"{prefix}neck.0.weight"].shape[0],
        position_side=side,
        relative_positions=False,
    )
