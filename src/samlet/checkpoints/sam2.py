"""The published state dicts of SAM 2 and 2.1 (`sam2_hiera_*.pt`, `sam2.1_hiera_*.pt`), their image parts, both ways.

They hold a tracker for videos, too, which samlet leaves out and names. Heads and windows of an encoder stand in no
state dict: they follow from its width and depth, which are those of one of the four published models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from samlet.checkpoints.reading import StateDict, build, shorten
from samlet.errors import CheckpointError, InputError
from samlet.io.remarks import remark
from samlet.models import DecoderConfig, Sam, SamConfig
from samlet.models.encoders.hiera.config import PUBLISHED, HieraConfig

_VIDEO = re.compile(
    r"memory_attention\.|memory_encoder\.|maskmem_tpos_enc|mask_downsample\.|obj_ptr_proj\.|obj_ptr_tpos_proj\."
    r"|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial"
)
_NO_MEMORY, _THEIR_NO_MEMORY = "image_encoder.neck.no_memory", "no_mem_embed"
# Pairs of (pattern of ours, theirs), the first that fits counts.
_RENAMES = (
    (r"image_encoder\.patch_embed\.(pos_embed\w*)", r"image_encoder.trunk.\1"),
    (r"image_encoder\.patch_embed\.", r"image_encoder.trunk.patch_embed."),
    (r"image_encoder\.blocks\.(\d+)\.mlp\.fc1\.", r"image_encoder.trunk.blocks.\1.mlp.layers.0."),
    (r"image_encoder\.blocks\.(\d+)\.mlp\.fc2\.", r"image_encoder.trunk.blocks.\1.mlp.layers.1."),
    (r"image_encoder\.blocks\.", r"image_encoder.trunk.blocks."),
    *(
        (rf"image_encoder\.neck\.lateral\.{stage}\.", rf"image_encoder.neck.convs.{3 - stage}.conv.")
        for stage in range(4)
    ),
    *((rf"image_encoder\.neck\.fine\.{level}\.", rf"sam_mask_decoder.conv_s{1 - level}.") for level in range(2)),
    (r"mask_decoder\.transformer\.layers\.(\d+)\.mlp\.lin1\.", r"sam_mask_decoder.transformer.layers.\1.mlp.layers.0."),
    (r"mask_decoder\.transformer\.layers\.(\d+)\.mlp\.lin2\.", r"sam_mask_decoder.transformer.layers.\1.mlp.layers.1."),
    (r"(mask_decoder|prompt_encoder)\.", r"sam_\1."),
    (re.escape(_NO_MEMORY), _THEIR_NO_MEMORY),
)


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    return "image_encoder.trunk.pos_embed" in tensors


def read(tensors: StateDict, path: Path) -> Sam:
    """A model from a published state dict; also from one that holds its image parts alone.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    tensors = dict(tensors)
    video = sorted({name.split(".")[0] for name in tensors if _VIDEO.match(name)})
    if video:
        remark(f"{path}: the parts for videos are left out ({', '.join(video)}); samlet segments images")
    image = {name: value for name, value in tensors.items() if not _VIDEO.match(name)}
    config = sam2_config(infer_hiera(image, "image_encoder.trunk.", path), _has_score(image))
    return build(config, image, path, _renamed)


def _renamed(sam: Sam, tensors: StateDict) -> StateDict:
    names = {theirs: ours for ours, theirs in _published_names(sam).items()}
    renamed = {names.get(name, name): value for name, value in tensors.items()}
    if _NO_MEMORY in renamed:
        renamed[_NO_MEMORY] = renamed[_NO_MEMORY].flatten()
    return renamed


def write(sam: Sam) -> StateDict:
    """The published state dict of a model's image parts, bit for bit.

    Raises:
        InputError: the published code could not hold these widths.
    """
    check_published(sam, "a SAM 2 state dict")
    names = _published_names(sam)
    tensors = {names[name]: value.detach().cpu() for name, value in sam.state_dict().items()}
    tensors[_THEIR_NO_MEMORY] = tensors[_THEIR_NO_MEMORY].view(1, 1, -1)
    return tensors


def sam2_config(encoder: HieraConfig, object_score: bool, norm_eps: float = 1e-5) -> SamConfig:
    """SAM 2 with an encoder: its decoder and preprocessing."""
    decoder = DecoderConfig(style="sam2", object_score=object_score, norm_eps=norm_eps)
    return SamConfig(encoder=encoder, decoder=decoder, resize="stretch_antialiased")


def _published_names(sam: Sam) -> dict[str, str]:
    """Published names of all tensors of a model by its own."""
    return {name: _published(name) for name in sam.state_dict()}


def _published(name: str) -> str:
    for pattern, theirs in _RENAMES:
        found, count = re.subn(f"^{pattern}", theirs, name)
        if count:
            return found
    return name


def _has_score(tensors: Iterable[str]) -> bool:
    return any("pred_obj_score_head" in name for name in tensors)


def infer_hiera(tensors: StateDict, trunk: str, path: Path) -> HieraConfig:
    """The config of the published Hiera whose width and depth a file has.

    Args:
        tensors: of the file.
        trunk: what the names of the encoder's tensors begin with.
        path: the file, for messages.

    Raises:
        CheckpointError: none has them.
    """
    table = tensors[f"{trunk}pos_embed"]
    numbers = {m.group(1) for name in tensors if (m := re.match(rf"{re.escape(trunk)}blocks\.(\d+)\.", name))}
    depth = len(numbers)
    opens = [i for i in range(depth) if f"{trunk}blocks.{i}.proj.weight" in tensors]
    depths = tuple(b - a for a, b in pairwise([0, *opens, depth]))
    width, side = (table.shape[1], table.shape[2]) if table.ndim == 4 else (0, 0)
    for config in PUBLISHED.values():
        if (config.embed_dims[0], config.depths, config.position_side) == (width, depths, side):
            return config
    known = ", ".join(f"{name} {c.embed_dims[0]} and {'-'.join(map(str, c.depths))}" for name, c in PUBLISHED.items())
    raise CheckpointError(
        f"{path} holds a Hiera of width {width}, {'-'.join(map(str, depths)) or 'no'} blocks and positions of side "
        f"{side}, which no published SAM 2 has ({known}); expected one of these, as heads and windows stand in no "
        "state dict. A model that was slimmed is read from its samlet folder"
    )


def check_published(sam: Sam, target: str) -> HieraConfig:
    """The config of a SAM 2 whose widths other projects' code can express.

    Raises:
        InputError: the model is no SAM 2, or has widths of its own.
    """
    config = sam.config.encoder
    if not isinstance(config, HieraConfig):
        raise InputError(f"the model has a {config.kind} encoder; {target} holds SAM 2 only")
    heads, dims = config.num_heads[0][0], set(sum((*config.qk_dims, *config.v_dims), ()))
    plain = HieraConfig.published(
        embed_dim=config.embed_dims[0],
        num_heads=heads,
        depths=config.depths,
        global_blocks=config.global_blocks,
        window_sizes=config.window_sizes,
        position_side=config.position_side,
        image_size=config.image_size,
    )
    if dims != {config.scale_dim} or config != plain:
        raise InputError(
            f"the model's widths are irregular; {target} knows only widths and heads that double from stage to stage. "
            "Save it in the native format"
        )
    return config


def check_names(tensors: Mapping[str, object], wanted: str, path: Path) -> None:
    """Refuse a file that lacks what tells its format."""
    if wanted not in tensors:
        raise CheckpointError(f"{path} lacks {wanted} (it holds {shorten(tensors)}); expected the weights of SAM 2")
