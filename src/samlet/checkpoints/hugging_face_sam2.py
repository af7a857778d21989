"""The folder of transformers' `Sam2Model`: `config.json` and `model.safetensors`, both ways.

Folders of `Sam2VideoModel`, which is how SAM 2 stands on the hub, hold the same and a tracker, which is left out.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from samlet.checkpoints.hugging_face import decoder_section
from samlet.checkpoints.reading import StateDict, build, read_json
from samlet.checkpoints.sam2 import check_names, check_published, sam2_config
from samlet.checkpoints.shards import read_weights
from samlet.checkpoints.statistics import from_folder
from samlet.errors import CheckpointError, InputError
from samlet.io.remarks import remark
from samlet.io.schema import checked
from samlet.io.writing import MODEL_FILES, new_folder, write_json, write_tensors
from samlet.models import Sam
from samlet.models.checks import MOST_BLOCKS, check_blocks
from samlet.models.encoders.hiera.config import HieraConfig

MODEL_TYPES = ("sam2", "sam2_video")
_VIDEO = re.compile(
    r"memory_attention\.|memory_encoder\.|memory_temporal_positional_encoding|mask_downsample\.|object_pointer_proj\."
    r"|temporal_positional_encoding_projection_layer\.|no_memory_positional_encoding|no_object_pointer"
    r"|occlusion_spatial_embedding_parameter"
)
_POINTS, _THEIR_POINTS = "prompt_encoder.point_embeddings.", "prompt_encoder.point_embed.weight"
_THEIR_POSITIONS = "shared_image_embedding.positional_embedding"
_TIED_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
_NO_MEMORY, _THEIR_NO_MEMORY = "image_encoder.neck.no_memory", "no_memory_embedding"
_BACKBONE = "vision_encoder.backbone."
# Pairs of (pattern of ours, theirs), the first that fits counts.
_WHOLE = (
    (r"image_encoder\.patch_embed\.(pos_embed\w*)", rf"{_BACKBONE}\1"),
    (r"image_encoder\.patch_embed\.proj\.", rf"{_BACKBONE}patch_embed.projection."),
    (r"image_encoder\.blocks\.", rf"{_BACKBONE}blocks."),
    *((rf"image_encoder\.neck\.lateral\.{stage}\.", rf"vision_encoder.neck.convs.{3 - stage}.") for stage in range(4)),
    *((rf"image_encoder\.neck\.fine\.{level}\.", rf"mask_decoder.conv_s{1 - level}.") for level in range(2)),
    (re.escape(_NO_MEMORY), _THEIR_NO_MEMORY),
    (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", _THEIR_POSITIONS),
    *(
        (rf"prompt_encoder\.mask_downscaling\.{ours}\.", f"prompt_encoder.mask_embed.{theirs}.")
        for ours, theirs in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3"))
    ),
    *(
        (rf"mask_decoder\.output_upscaling\.{ours}\.", f"mask_decoder.upscale_{theirs}.")
        for ours, theirs in ((0, "conv1"), (1, "layer_norm"), (3, "conv2"))
    ),
)
_PARTS = (
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", r".layer_norm_final_attn."),
    (r"\.mlp\.(?:fc1|lin1)\.", r".mlp.proj_in."),
    (r"\.mlp\.(?:fc2|lin2)\.", r".mlp.proj_out."),
    (r"\.out_proj\.", r".o_proj."),
)
_HEAD = re.compile(r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|\w+_head))\.layers\.(\d+)\.(\w+)")


def _their_name(name: str, depth: int) -> str:
    for pattern, theirs in _WHOLE:
        name, count = re.subn(f"^{pattern}", theirs, name)
        if count:
            break
    for pattern, theirs in _PARTS:
        name = re.sub(pattern, theirs, name)
    if match := _HEAD.fullmatch(name):
        head, layer, kind = match.group(1), int(match.group(2)), match.group(3)
        last = (depth if head.endswith("iou_prediction_head") else 3) - 1
        place = "proj_in" if layer == 0 else "proj_out" if layer == last else f"layers.{layer - 1}"
        return f"{head}.{place}.{kind}"
    return name


def _their_names(sam: Sam) -> dict[str, str]:
    """Names in their state dict of all tensors of a model by its own, but for the points, which they stack."""
    depth = sam.config.decoder.iou_head_depth
    return {name: _their_name(name, depth) for name in sam.state_dict() if not name.startswith(_POINTS)}


def read(folder: Path) -> Sam:
    """Load a `Sam2Model` or `Sam2VideoModel` folder.

    Raises:
        CheckpointError: another architecture, or names and shapes that are not those of the config.
    """
    content = read_json(folder / "config.json")
    tensors, path = read_weights(folder)
    tensors.pop(_TIED_POSITIONS, None)
    check_names(tensors, f"{_BACKBONE}pos_embed", path)
    video = sorted({name.split(".")[0] for name in tensors if _VIDEO.match(name)})
    if video:
        remark(f"{folder}: the parts for videos are left out ({', '.join(video)}); samlet segments images")
    image = {name: value for name, value in tensors.items() if not _VIDEO.match(name)}
    has_score = any("pred_obj_score_head" in name for name in image)
    config = sam2_config(_hiera(content, folder), has_score)
    own = from_folder(folder, config.encoder.image_size, stretch=True)
    config = dataclasses.replace(config, **own)  # type: ignore[arg-type]
    return build(config, image, path, _renamed)


def _renamed(sam: Sam, tensors: StateDict) -> StateDict:
    names = {theirs: ours for ours, theirs in _their_names(sam).items()}
    renamed: StateDict = {}
    for name, value in tensors.items():
        if name == _THEIR_POINTS and value.ndim == 2:
            renamed |= {f"{_POINTS}{i}.weight": row[None] for i, row in enumerate(value)}
        else:
            renamed[names.get(name, name)] = value.flatten() if name == _THEIR_NO_MEMORY else value
    return renamed


class _Backbone(TypedDict, total=False):
    blocks_per_stage: NotRequired[list[int]]
    embed_dim_per_stage: NotRequired[list[int]]
    num_attention_heads_per_stage: NotRequired[list[int]]
    image_size: NotRequired[int | list[int]]
    window_positional_embedding_background_size: NotRequired[list[int]]
    mlp_ratio: NotRequired[float]
    window_size_per_stage: NotRequired[list[int]]
    global_attention_blocks: NotRequired[list[int]]


class _Vision(TypedDict, total=False):
    backbone_config: NotRequired[_Backbone | None]
    fpn_hidden_size: NotRequired[int]


class _Config(TypedDict):
    vision_config: NotRequired[_Vision | None]


def _hiera(content: dict[str, Any], folder: Path) -> HieraConfig:
    """The encoder's config; what theirs does not say is that of Hiera-T."""
    try:
        vision = checked(content, _Config).get("vision_config") or _Vision()
        about = vision.get("backbone_config") or _Backbone()
        own = HieraConfig()
        depths = tuple(about.get("blocks_per_stage", own.depths))
        dims = tuple(about.get("embed_dim_per_stage", own.embed_dims))
        heads = tuple(about.get("num_attention_heads_per_stage", (1, 2, 4, 8)))
        image_size = about.get("image_size", own.image_size)
        side = image_size if isinstance(image_size, int) else image_size[0]
        background = about.get("window_positional_embedding_background_size", [own.position_side])[0]
        ratio = about.get("mlp_ratio", 4.0)
        check_blocks("vision_config.backbone_config", **{"blocks_per_stage": (0,) * min(max(depths), MOST_BLOCKS + 1)})
        head_dims = {dim // count for dim, count in zip(dims, heads, strict=True)}
        if len(head_dims) != 1:
            raise ValueError(f"widths {dims} and heads {heads}, whose heads have {sorted(head_dims)} channels")
        (head_dim,) = head_dims
        per_block = tuple((head_dim,) * depth for depth in depths)
        return HieraConfig(
            image_size=side,
            embed_dims=dims,
            num_heads=tuple((count,) * depth for count, depth in zip(heads, depths, strict=True)),
            qk_dims=per_block,
            v_dims=per_block,
            mlp_dims=tuple((int(dim * ratio),) * depth for dim, depth in zip(dims, depths, strict=True)),
            scale_dim=head_dim,
            window_sizes=tuple(about.get("window_size_per_stage", own.window_sizes)),
            global_blocks=tuple(about.get("global_attention_blocks", own.global_blocks)),
            position_side=background,
            out_channels=vision.get("fpn_hidden_size", own.out_channels),
        )
    except (InputError, TypeError, ValueError, AttributeError, KeyError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} cannot be read: {error}; expected the config of a Sam2Model"
        ) from error


def _their_config(sam: Sam) -> dict[str, Any]:
    encoder, decoder = check_published(sam, "a Sam2Model folder"), sam.config.decoder
    side = encoder.image_size
    heads = [stage[0] for stage in encoder.num_heads]
    return {
        "architectures": ["Sam2Model"],
        "model_type": "sam2",
        "dtype": str(sam.dtype).removeprefix("torch."),
        "initializer_range": 0.02,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": encoder.embed_dims[0],
                "num_attention_heads": heads[0],
                "image_size": [side, side],
                "blocks_per_stage": list(encoder.depths),
                "embed_dim_per_stage": list(encoder.embed_dims),
                "num_attention_heads_per_stage": heads,
                "window_size_per_stage": list(encoder.window_sizes),
                "global_attention_blocks": list(encoder.global_blocks),
                "window_positional_embedding_background_size": [encoder.position_side] * 2,
                "mlp_ratio": 4.0,
            },
            "backbone_channel_list": list(reversed(encoder.embed_dims)),
            "backbone_feature_sizes": [[side // stride] * 2 for stride in (4, 8, 16)],
            "fpn_hidden_size": encoder.out_channels,
        },
        "prompt_encoder_config": {
            "model_type": "sam2_prompt_encoder",
            "hidden_size": encoder.out_channels,
            "image_size": side,
            "patch_size": 16,
            "mask_input_channels": decoder.mask_in_channels,
        },
        "mask_decoder_config": decoder_section(sam, "sam2_mask_decoder"),
    }


def check(sam: Sam) -> None:
    """Raise InputError if `Sam2Model` cannot hold the model."""
    _their_config(sam)


def write(sam: Sam, folder: Path, overwrite: bool = False) -> None:
    """Write a folder that `transformers.Sam2Model.from_pretrained` reads.

    Raises:
        InputError: `Sam2Model` cannot hold these widths, or the folder holds something else.
    """
    config, names, state = _their_config(sam), _their_names(sam), sam.state_dict()
    tensors: dict[str, Tensor] = {names[name]: state[name].detach().cpu() for name in names}
    tensors[_THEIR_NO_MEMORY] = tensors[_THEIR_NO_MEMORY].view(1, 1, -1)
    rows = [value.detach().cpu() for name, value in state.items() if name.startswith(_POINTS)]
    tensors[_THEIR_POINTS] = torch.cat(rows)
    tensors[_TIED_POSITIONS] = tensors[_THEIR_POSITIONS].clone()  # transformers reads both and ties neither
    with new_folder(folder, MODEL_FILES, overwrite) as temporary:
        write_tensors(temporary / "model.safetensors", tensors)
        write_json(temporary / "config.json", config)
