"""The folder of transformers' `SamModel`: `config.json` and `model.safetensors`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from samlet.checkpoints.reading import StateDict, build, read_json
from samlet.checkpoints.segment_anything import check_plain, infer_vit_config, with_own_scale
from samlet.checkpoints.shards import read_weights
from samlet.checkpoints.statistics import PREPROCESSOR, from_folder, preprocessor
from samlet.errors import CheckpointError, InputError
from samlet.io.schema import SchemaError, checked
from samlet.io.writing import MODEL_FILES, new_folder, write_json, write_tensors
from samlet.models import DecoderConfig, Sam, SamConfig

_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_THEIR_POSITIONS = "shared_image_embedding.positional_embedding"
_TIED_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
# Pairs of (ours, theirs); each side is a pattern for the other direction, applied in order. Numbers in a name shift
# only between `layers` of a head (three ours, one theirs between `proj_in` and `proj_out`).
_RENAMES = (
    ("image_encoder.blocks.", "vision_encoder.layers."),
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("image_encoder.", "vision_encoder."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
    ("prompt_encoder.point_embeddings.", "prompt_encoder.point_embed."),
    ("output_upscaling.0.", "upscale_conv1."),
    ("output_upscaling.1.", "upscale_layer_norm."),
    ("output_upscaling.3.", "upscale_conv2."),
    (".norm_final_attn.", ".layer_norm_final_attn."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".norm3.", ".layer_norm3."),
    (".norm4.", ".layer_norm4."),
)
_HEAD = r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))"

MODEL_TYPE = "sam"  # that config.json says


def _to_theirs(name: str, head_depth: int) -> str:
    if name == _POSITIONS:
        return _THEIR_POSITIONS
    for ours, theirs in _RENAMES:
        name = name.replace(ours, theirs)
    match = re.match(_HEAD + r"\.layers\.(\d+)\.(\w+)$", name)
    if match:
        head, layer, kind = match.group(1), int(match.group(2)), match.group(3)
        depth = head_depth if "iou_prediction_head" in head else 3
        inner = "proj_in" if layer == 0 else "proj_out" if layer == depth - 1 else f"layers.{layer - 1}"
        name = f"{head}.{inner}.{kind}"
    return name


def _from_theirs(name: str, head_depth: int) -> str:
    if name == _THEIR_POSITIONS:
        return _POSITIONS
    match = re.match(_HEAD + r"\.(proj_in|proj_out|layers\.(\d+))\.(\w+)$", name)
    if match:
        head, place, inner, kind = match.groups()
        depth = head_depth if "iou_prediction_head" in head else 3
        layer = 0 if place == "proj_in" else depth - 1 if place == "proj_out" else int(inner) + 1
        return f"{head}.layers.{layer}.{kind}"
    for ours, theirs in _RENAMES:
        is_neck = theirs.startswith("vision_encoder.neck")
        if is_neck or not name.startswith("image_encoder.neck"):
            name = name.replace(theirs, ours)
    return name


class _Decoder(TypedDict, total=False):
    iou_head_depth: NotRequired[int]
    layer_norm_eps: NotRequired[float]
    num_multimask_outputs: NotRequired[int]
    num_attention_heads: NotRequired[int]


class _Vision(TypedDict, total=False):
    num_attention_heads: NotRequired[int | None]


class _Config(TypedDict):
    mask_decoder_config: NotRequired[_Decoder | None]
    vision_config: NotRequired[_Vision | None]


def read(folder: Path) -> Sam:
    """Load a `SamModel` folder.

    Raises:
        CheckpointError: another architecture, or names and shapes that are not those of the format.
    """
    content = read_json(folder / "config.json")
    if content.get("model_type") != MODEL_TYPE:
        raise CheckpointError(f"{folder / 'config.json'} has model_type {content.get('model_type')!r}; expected 'sam'")
    try:
        said: _Config = checked(content, _Config)
    except SchemaError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}; expected that of a SamModel") from error
    decoder, vision = said.get("mask_decoder_config") or _Decoder(), said.get("vision_config") or _Vision()
    depth = decoder.get("iou_head_depth", 3)
    theirs, path = read_weights(folder)
    theirs.pop(_TIED_POSITIONS, None)
    tensors = {_from_theirs(name, depth): value for name, value in theirs.items()}
    if "image_encoder.pos_embed" not in tensors:
        raise CheckpointError(f"{path} lacks vision_encoder.pos_embed; expected the weights of a SamModel")
    heads = vision.get("num_attention_heads")
    encoder = infer_vit_config(tensors, path)
    if heads is not None and set(encoder.num_heads) != {heads}:
        raise CheckpointError(
            f"{folder} says {heads} attention heads, but its weights have {encoder.num_heads[0]}; "
            "expected them to agree"
        )
    try:
        config = DecoderConfig(
            iou_head_depth=depth,
            norm_eps=decoder.get("layer_norm_eps", 1e-6),
            num_multimask_outputs=decoder.get("num_multimask_outputs", 3),
        )
        if (given := decoder.get("num_attention_heads", config.num_heads)) != config.num_heads:
            raise InputError(f"mask_decoder_config.num_attention_heads is {given}; expected {config.num_heads}")
        whole = SamConfig(encoder=encoder, decoder=config)
    except InputError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}; expected that of a SamModel") from error
    own = from_folder(folder, encoder.image_size, stretch=False)
    return build(dataclasses.replace(whole, **own), tensors, path)  # type: ignore[arg-type]


def _their_config(sam: Sam) -> dict[str, Any]:
    encoder, decoder = check_plain(sam, "a SamModel folder"), sam.config.decoder
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "dtype": str(sam.dtype).removeprefix("torch."),
        "initializer_range": 0.02,
        "vision_config": {
            "model_type": "sam_vision_model",
            "hidden_size": encoder.embed_dim,
            "num_hidden_layers": encoder.depth,
            "num_attention_heads": encoder.num_heads[0],
            "mlp_dim": encoder.mlp_dims[0],
            "mlp_ratio": encoder.mlp_dims[0] / encoder.embed_dim,
            "image_size": encoder.image_size,
            "patch_size": encoder.patch_size,
            "window_size": encoder.window_size,
            "global_attn_indexes": list(encoder.global_blocks),
            "output_channels": encoder.out_channels,
            "num_pos_feats": encoder.out_channels // 2,
            "layer_norm_eps": 1e-6,
        },
        "prompt_encoder_config": {
            "model_type": "sam_prompt_encoder",
            "hidden_size": encoder.out_channels,
            "image_size": encoder.image_size,
            "patch_size": encoder.patch_size,
            "image_embedding_size": encoder.image_size // encoder.patch_size,
            "mask_input_channels": decoder.mask_in_channels,
        },
        "mask_decoder_config": {**decoder_section(sam, "sam_mask_decoder"), "layer_norm_eps": decoder.norm_eps},
    }


def decoder_section(sam: Sam, model_type: str) -> dict[str, Any]:
    """What their configs of SAM and SAM 2 say alike of the mask decoder."""
    decoder = sam.config.decoder
    return {
        "model_type": model_type,
        "hidden_size": sam.config.encoder.out_channels,
        "num_hidden_layers": decoder.depth,
        "num_attention_heads": decoder.num_heads,
        "mlp_dim": decoder.mlp_dim,
        "num_multimask_outputs": decoder.num_multimask_outputs,
        "iou_head_depth": decoder.iou_head_depth,
        "iou_head_hidden_dim": decoder.iou_head_hidden_dim,
    }


def check(sam: Sam) -> None:
    """Raise InputError if `SamModel` cannot hold the model."""
    _their_config(with_own_scale(sam))


def write(sam: Sam, folder: Path, overwrite: bool = False) -> None:
    """Write a folder that `transformers.SamModel.from_pretrained` reads.

    Raises:
        InputError: `SamModel` cannot hold these widths, or the folder holds something else.
    """
    sam = with_own_scale(sam)
    config = _their_config(sam)
    tensors: StateDict = {
        _to_theirs(name, sam.config.decoder.iou_head_depth): value.detach().cpu()
        for name, value in sam.state_dict().items()
    }
    with new_folder(folder, MODEL_FILES, overwrite) as temporary:
        write_tensors(temporary / "model.safetensors", tensors)
        write_json(temporary / "config.json", config)
        write_json(temporary / PREPROCESSOR, preprocessor(sam.config))
