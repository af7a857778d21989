"""The published segment-anything state dict of the ViT family (`sam_vit_*.pth`). Our names are its names.

SlimSAM's (Chen et al., "SlimSAM", NeurIPS 2024) is read too: with query, key and value in layers of their own, and with
a width of attention that differs from block to block.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from samlet.checkpoints.decoders import decoder_of
from samlet.checkpoints.modules import Attributes, described
from samlet.checkpoints.reading import StateDict, build
from samlet.checkpoints.statistics import taken_from
from samlet.errors import CheckpointError, InputError
from samlet.models import Sam, SamConfig, ViTConfig
from samlet.models.encoders.vit.encoder import ViTBlock, ViTEncoder

_SPLIT = re.compile(r"(image_encoder\.blocks\.\d+\.attn)\.q\.(weight|bias)")


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    layers = (f"image_encoder.blocks.0.attn.{layer}.weight" for layer in ("qkv", "q"))
    return any(layer in tensors for layer in layers) and "image_encoder.pos_embed" in tensors


def infer_vit_config(tensors: StateDict, path: Path, scale_dim: int | None = None) -> ViTConfig:
    """Read the encoder's widths off the shapes of `image_encoder.*`.

    Attention is taken to be scaled by the head width that the file has, as the published modules do, unless
    `scale_dim` says otherwise.
    """
    prefix = "image_encoder."
    depth = len({name.split(".")[2] for name in tensors if name.startswith(f"{prefix}blocks.")})
    try:
        side = tensors[f"{prefix}pos_embed"].shape[1]
        embed_dim, _, patch, _ = tensors[f"{prefix}patch_embed.proj.weight"].shape
        heads, qk_dims, v_dims, mlp_dims, tables = [], [], [], [], []
        for i in range(depth):
            block = f"{prefix}blocks.{i}"
            table = tensors[f"{block}.attn.rel_pos_h"]
            rows, inner = tensors[f"{block}.attn.qkv.weight"].shape[0], tensors[f"{block}.attn.proj.weight"].shape[1]
            tables.append(table.shape[0])
            qk_dims.append(table.shape[1])
            heads.append((rows - inner) // (2 * table.shape[1]))
            v_dims.append(inner // heads[-1])
            mlp_dims.append(tensors[f"{block}.mlp.lin1.weight"].shape[0])
        global_blocks = tuple(i for i, length in enumerate(tables) if length == 2 * side - 1)
        windows = {(length + 1) // 2 for length in tables if length != 2 * side - 1} or {14}
        if len(windows) > 1:
            raise CheckpointError(f"{path} has windows of several sizes, {sorted(windows)}; expected one")
        return ViTConfig(
            image_size=side * patch,
            patch_size=patch,
            embed_dim=embed_dim,
            num_heads=tuple(heads),
            qk_dims=tuple(qk_dims),
            v_dims=tuple(v_dims),
            mlp_dims=tuple(mlp_dims),
            scale_dim=scale_dim or max(qk_dims),
            window_size=windows.pop(),
            global_blocks=global_blocks,
            out_channels=tensors[f"{prefix}neck.0.weight"].shape[0],
        )
    except (KeyError, ValueError, ZeroDivisionError, IndexError) as error:
        raise CheckpointError(
            f"{path} looks like a SAM ViT but its encoder cannot be read: {error!r}; expected the names and shapes "
            "of a segment-anything state dict"
        ) from error


def read(tensors: StateDict, path: Path, attributes: Mapping[str, Attributes] | None = None) -> Sam:
    """A model from a segment-anything state dict.

    Args:
        tensors: the state dict; the layers `attn.q`, `attn.k` and `attn.v` may stand for `attn.qkv`.
        path: the file, for messages.
        attributes: of the modules, by name, where the file is a pickled module: `scale` of every attention is heeded.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    tensors, own = taken_from(tensors, path)
    tensors = _joined(tensors, path)
    config = infer_vit_config(tensors, path)
    dims = _scale_dims(config, attributes or {}, path)
    one = round(dims[0]) if len(set(dims)) == 1 and dims[0] == round(dims[0]) else config.scale_dim
    config = dataclasses.replace(config, scale_dim=one)
    sam = build(SamConfig(encoder=config, decoder=decoder_of(tensors, path), **own), tensors, path)  # type: ignore[arg-type]
    assert isinstance(sam.image_encoder, ViTEncoder)
    _rescale(sam.image_encoder, dims)
    return sam


def _joined(tensors: StateDict, path: Path) -> StateDict:
    """The state dict with the rows of `attn.q`, `attn.k` and `attn.v` in one `attn.qkv`."""
    joined = dict(tensors)
    for match in filter(None, map(_SPLIT.fullmatch, tensors)):
        attention, part = match.groups()
        names = [f"{attention}.{layer}.{part}" for layer in ("q", "k", "v")]
        whole = f"{attention}.qkv.{part}"
        if missing := [name for name in names if name not in tensors]:
            raise CheckpointError(f"{path} lacks {missing[0]}; expected queries, keys and values of every block")
        shapes = [tuple(tensors[name].shape) for name in names]
        if whole in tensors or not shapes[0] or len(set(shapes)) > 1:
            raise CheckpointError(
                f"{path} has {attention}.q, k and v of shapes {shapes}; expected one shape, and no {whole} beside them"
            )
        joined[whole] = torch.cat([joined.pop(name) for name in names])
    return joined


def _scale_dims(config: ViTConfig, attributes: Mapping[str, Attributes], path: Path) -> list[float]:
    """For every block the d of the factor d ** -0.5 of its attention: its head width, unless an attribute says so."""
    dims: list[float] = []
    for i, own in enumerate(config.qk_dims):
        scale = attributes.get(f"image_encoder.blocks.{i}.attn", {}).get("scale", own**-0.5)
        if not isinstance(scale, int | float) or not 1e-3 <= scale <= 1:
            raise CheckpointError(
                f"{path} scales the attention of block {i} by {described(scale)}; expected a head width ** -0.5"
            )
        dim = scale**-2
        dims.append(float(round(dim)) if math.isclose(dim, round(dim), rel_tol=1e-6) else dim)
    return dims


@torch.no_grad()
def _rescale(encoder: ViTEncoder, dims: Sequence[float]) -> None:
    """Let every block's attention be scaled by `dims[i] ** -0.5` although it is by `scale_dim ** -0.5`.

    Queries take the ratio; the relative positions, which meet queries that are not scaled, take it back.
    """
    for block, dim in zip(encoder.blocks, dims, strict=True):
        assert isinstance(block, ViTBlock)
        if dim == encoder.config.scale_dim:
            continue
        attention, ratio = block.attn, math.sqrt(encoder.config.scale_dim / dim)
        queries = attention.heads * attention.qk_dim
        for part in (attention.qkv.weight[:queries], attention.qkv.bias[:queries]):
            part.copy_(part.double() * ratio)
        for table in (attention.rel_pos_h, attention.rel_pos_w):
            assert table is not None
            table.copy_(table.double() / ratio)


def check_plain(sam: Sam, target: str) -> ViTConfig:
    """The config of a ViT whose widths another project's code can express: one head width, scaled by itself.

    Raises:
        InputError: the widths are irregular or the encoder is no ViT.
    """
    config = sam.config.encoder
    if not isinstance(config, ViTConfig):
        raise InputError(f"the model has a {config.kind} encoder; {target} holds the ViT family only")
    own = config.relative_positions and config.position_side is None and sam.config.decoder.style == "sam"
    if not own or sam.config.resize != "longest_side" or sam.config.score != "iou":
        raise InputError(f"the model is no SAM of Meta's making inside; {target} cannot hold it. Save it natively")
    heads = config.num_heads[0]
    dims = set(config.qk_dims) | set(config.v_dims) | {config.scale_dim}
    plain = set(config.num_heads) == {heads} and dims == {config.scale_dim} and len(set(config.mlp_dims)) == 1
    if not plain or heads * config.scale_dim != config.embed_dim:
        raise InputError(
            f"the model's widths are irregular; {target} knows only one MLP width and num_heads · head width = "
            "embedding width for all blocks. Save it in the native format, or slim with --selection uniform, which "
            "leaves widths that it can hold"
        )
    return config


def with_own_scale(sam: Sam) -> Sam:
    """A model with thinner heads whose attention is scaled by their own width, as other projects' code does.

    Pruning keeps the scale of the original heads. Queries take the ratio of both scales in, and the tables of relative
    positions, which meet unscaled queries, its inverse: the answers stay the same. Models that need no such change, or
    for which it is not enough, are returned as they are.
    """
    config = sam.config.encoder
    if not isinstance(config, ViTConfig):
        return sam
    widths = set(config.qk_dims)
    if len(widths) != 1 or widths == {config.scale_dim} or not config.relative_positions:
        return sam
    encoder = dataclasses.replace(config, scale_dim=widths.pop())
    made = Sam(dataclasses.replace(sam.config, encoder=encoder)).to(sam.dtype)
    made.load_state_dict(sam.state_dict())
    assert isinstance(made.image_encoder, ViTEncoder)
    _rescale(made.image_encoder, [float(config.scale_dim)] * config.depth)
    return made.train(sam.training)


def write(sam: Sam) -> StateDict:
    """The segment-anything state dict of a model, bit for bit.

    Raises:
        InputError: the published code could not hold these widths.
    """
    sam = with_own_scale(sam)
    check_plain(sam, "a segment-anything state dict")
    return {name: value.detach().cpu() for name, value in sam.state_dict().items()}
