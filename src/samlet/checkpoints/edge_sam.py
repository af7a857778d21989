"""The state dict of EdgeSAM (`edge_sam.pth`, `edge_sam_3x.pth`): RepViT with batch norms and parallel branches.

Zhou et al., "EdgeSAM", 2023. Reading folds every batch norm and the three branches of a depthwise convolution into one
convolution with bias. There is no writing: which branch and which norm a folded weight came from cannot be told, so the
published values would not come back. The native format holds the folded model exactly.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.checkpoints.decoders import decoder_of
from samlet.checkpoints.mobile_sam import fold
from samlet.checkpoints.reading import StateDict, build, shorten
from samlet.checkpoints.statistics import taken_from
from samlet.errors import CheckpointError, InputError
from samlet.models import Sam, SamConfig
from samlet.models.encoders.repvit.config import RepViTConfig
from samlet.models.encoders.repvit.encoder import RepViTEncoder

_PREFIX = "image_encoder."
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_BLOCK = re.compile(r"image_encoder\.features\.([1-9][0-9]{0,3})\.")  # features.0 is the stem


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    return f"{_PREFIX}features.0.0.c.weight" in tensors and any(n.startswith(f"{_PREFIX}fuse_stage") for n in tensors)


def infer_config(tensors: StateDict, path: Path) -> RepViTConfig:
    """Read the encoder's widths off the shapes of `image_encoder.*`.

    Raises:
        CheckpointError: a layer is missing, or the layers do not make a RepViT of four stages.
    """
    missing: list[str] = []
    mixing = {".".join(name.split(".")[:5]) for name in tensors}  # image_encoder.features.N.token_mixer.M

    def rows(layer: str) -> int:
        names = (f"{_PREFIX}{layer}.{part}" for part in ("bias", "bn.bias", "weight", "c.weight"))
        found = next((tensors[name] for name in names if name in tensors), None)
        if found is None:
            missing.append(f"{_PREFIX}{layer}")
        return 1 if found is None else found.shape[0]

    try:
        embed_dims = [rows("features.0.2")]
        mixers: list[list[int]] = [[]]
        squeezes: list[list[int]] = [[]]
        last = max((int(found[1]) for name in tensors if (found := _BLOCK.match(name))), default=0)
        for block in (f"features.{number}" for number in range(1, last + 1)):
            if f"{_PREFIX}{block}.token_mixer.2" in mixing:
                embed_dims.append(rows(f"{block}.token_mixer.2"))
                mixers.append([])
                squeezes.append([])
            has_squeeze = f"{_PREFIX}{block}.token_mixer.1" in mixing
            mixers[-1].append(rows(f"{block}.channel_mixer.m.0"))
            squeezes[-1].append(rows(f"{block}.token_mixer.1.fc1") if has_squeeze else 0)
        stem_dim, out_channels = rows("features.0.0"), rows("neck.0")
        if missing:
            raise InputError(f"it lacks {shorten(missing)}")
        return RepViTConfig(
            stem_dim=stem_dim,
            embed_dims=tuple(embed_dims),
            mixer_dims=tuple(tuple(stage) for stage in mixers),
            squeeze_dims=tuple(tuple(stage) for stage in squeezes),
            out_channels=out_channels,
        )
    except (InputError, IndexError) as error:
        raise CheckpointError(
            f"{path} looks like EdgeSAM but its encoder cannot be read: {error}; expected the names and shapes of the "
            "published state dict"
        ) from error


def _layers(config: RepViTConfig) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Published names by ours: of the convolutions with batch norm that a layer folds, and of plain layers.

    Where a layer folds two, they and the identity are branches whose sum it is.
    """
    folded: dict[str, tuple[str, ...]] = {
        "patch_embed.conv1": ("features.0.0",),
        "patch_embed.conv2": ("features.0.2",),
    }
    plain = {"fuse_stage2": "fuse_stage2", "fuse_stage3": "fuse_stage3.op_list.0"}
    plain |= {f"neck.{i}": f"neck.{i}" for i in range(4)}
    blocks = [(stage, i) for stage, depth in enumerate(config.depths) for i in range(depth)]
    for number, (stage, i) in enumerate(blocks, start=1):
        ours, theirs = f"stages.{stage}.{i}", f"features.{number}"
        first = f"{theirs}.token_mixer.0"
        if stage and not i:
            folded[f"{ours}.local_conv"] = (first,)
            folded[f"{ours}.project"] = (f"{theirs}.token_mixer.2",)
        else:
            folded[f"{ours}.local_conv"] = (f"{first}.conv", f"{first}.conv1")
        if config.squeeze_dims[stage][i]:
            plain |= {f"{ours}.squeeze.{fc}": f"{theirs}.token_mixer.1.{fc}" for fc in ("fc1", "fc2")}
        folded[f"{ours}.mixer.fc1"] = (f"{theirs}.channel_mixer.m.0",)
        folded[f"{ours}.mixer.fc2"] = (f"{theirs}.channel_mixer.m.2",)
    return folded, plain


def _check(tensors: StateDict, config: RepViTConfig, path: Path) -> None:
    """Refuse an encoder whose names and shapes are not exactly the published ones."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in RepViTEncoder(config).state_dict().items()}
    folded, plain = _layers(config)
    expected: dict[str, tuple[int, ...]] = {}
    for ours, branches in folded.items():
        rows, columns, *kernel = shapes[f"{ours}.weight"]
        for branch, size in zip(branches, (kernel, (1, 1)), strict=False):
            expected[f"{_PREFIX}{branch}.c.weight"] = (rows, columns, *size)
            expected |= {f"{_PREFIX}{branch}.bn.{part}": (rows,) for part in _BATCH_NORM}
    for ours, theirs in plain.items():
        for part in ("weight", "bias"):
            if f"{ours}.{part}" in shapes:
                expected[f"{_PREFIX}{theirs}.{part}"] = shapes[f"{ours}.{part}"]
    counters = {f"{_PREFIX}{b}.bn.num_batches_tracked" for branches in folded.values() for b in branches}
    found = {name for name in tensors if name.startswith(_PREFIX)} - counters
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in found and tuple(tensors[name].shape) != shape
    ]
    problems = {
        "missing": sorted(expected.keys() - found),
        "surplus": sorted(found - expected.keys()),
        "of another shape": misshapen,
    }
    if any(problems.values()):
        named = "; ".join(f"{len(names)} {what} ({shorten(names)})" for what, names in problems.items() if names)
        raise CheckpointError(
            f"{path} does not hold the encoder of EdgeSAM: {named}. "
            "The file is of another architecture or another version"
        )


def encoder_tensors(tensors: StateDict, path: Path) -> StateDict:
    """The state dict of a `RepViTEncoder` from a published one, whose other parts are left aside.

    Every entry of the published encoder is used once; only counters of batches are ignored.

    Raises:
        CheckpointError: missing, surplus or misshapen entries, named.
    """
    config = infer_config(tensors, path)
    _check(tensors, config, path)
    folded, plain = _layers(config)
    state: StateDict = {}
    for ours, branches in folded.items():
        state[f"{ours}.weight"], state[f"{ours}.bias"] = _folded(tensors, branches)
    for ours, theirs in plain.items():
        for part in ("weight", "bias"):
            if f"{_PREFIX}{theirs}.{part}" in tensors:
                state[f"{ours}.{part}"] = tensors[f"{_PREFIX}{theirs}.{part}"]
    return state


def _folded(tensors: StateDict, branches: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals one convolution with batch norm, or two and the identity."""
    names = [f"{_PREFIX}{branch}" for branch in branches]
    (weight, bias), *pointwise = (
        fold(tensors[f"{name}.c.weight"].double(), *(tensors[f"{name}.bn.{part}"] for part in _BATCH_NORM))
        for name in names
    )
    for centre, more in pointwise:
        weight = weight + F.pad(centre + 1, (1, 1, 1, 1))  # the 1 is the identity
        bias = bias + more
    dtype = tensors[f"{names[0]}.c.weight"].dtype
    return weight.to(dtype), bias.to(dtype)


def read(tensors: StateDict, path: Path) -> Sam:
    """A model from an EdgeSAM state dict; masks are scored by stability, since its IoU head was not trained.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    tensors, own = taken_from(tensors, path)
    encoder = {f"{_PREFIX}{name}": value for name, value in encoder_tensors(tensors, path).items()}
    rest = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
    decoder = decoder_of(tensors, path)
    config = SamConfig(encoder=infer_config(tensors, path), decoder=decoder, score="stability", **own)  # type: ignore[arg-type]
    return build(config, encoder | rest, path)
