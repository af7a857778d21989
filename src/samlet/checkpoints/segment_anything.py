"""The published segment-anything state dict of the ViT family (`sam_vit_*.pth`). Our names are its names."""

from __future__ import annotations

from pathlib import Path

from samlet.checkpoints.reading import StateDict, fill
from samlet.errors import CheckpointError, InputError
from samlet.models import DecoderConfig, Sam, SamConfig, ViTConfig


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    return "image_encoder.blocks.0.attn.qkv.weight" in tensors and "image_encoder.pos_embed" in tensors


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


def read(tensors: StateDict, path: Path) -> Sam:
    """A model from a segment-anything state dict.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    sam = Sam(SamConfig(encoder=infer_vit_config(tensors, path), decoder=DecoderConfig()))
    fill(sam, tensors, path)
    return sam.eval()


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
            f"the model's widths are pruned; {target} knows only one MLP width and num_heads · head width = embedding "
            "width. Save it in the native format"
        )
    return config


def write(sam: Sam) -> StateDict:
    """The segment-anything state dict of a model, bit for bit.

    Raises:
        InputError: the published code could not hold these widths.
    """
    check_plain(sam, "a segment-anything state dict")
    return {name: value.detach().cpu() for name, value in sam.state_dict().items()}
