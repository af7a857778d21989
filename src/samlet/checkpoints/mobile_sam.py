"""The state dict of MobileSAM and TinySAM (`mobile_sam.pt`, `tinysam.pth`): TinyViT with batch norms.

Reading folds every batch norm into its convolution; writing leaves batch norms that only add the bias.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from samlet.checkpoints.decoders import decoder_of
from samlet.checkpoints.reading import StateDict, build
from samlet.checkpoints.statistics import taken_from
from samlet.errors import CheckpointError, InputError
from samlet.models import Sam, SamConfig, TinyViTConfig

_PREFIX = "image_encoder."
_EPS = 1e-5  # of torch's BatchNorm2d
_CLASSES = 1000
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_STEM = {"patch_embed.seq.0": "patch_embed.conv1", "patch_embed.seq.2": "patch_embed.conv2"}
# The classifier that TinyViT was pre-trained with, and caches that can be computed: present in some files, never used.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.|\.attention_bias_idxs$|\.attn\.ab$|\.num_batches_tracked$")


def matches(tensors: StateDict) -> bool:
    """Whether the names are those of this format."""
    return f"{_PREFIX}patch_embed.seq.0.c.weight" in tensors


def fold(weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals convolution, then batch norm in evaluation mode."""
    factor = gamma.double() / (variance.double() + _EPS).sqrt()
    folded = weight.double() * factor.view(-1, 1, 1, 1)
    return folded.to(weight.dtype), (beta.double() - mean.double() * factor).to(weight.dtype)


def _fold_all(tensors: StateDict, path: Path) -> StateDict:
    folded: StateDict = {}
    for name, value in tensors.items():
        if _UNUSED.search(name) or ".bn." in name:
            continue
        if not name.endswith(".c.weight"):
            folded[name] = value
            continue
        layer = name.removesuffix(".c.weight")
        missing = [f"{layer}.bn.{part}" for part in _BATCH_NORM if f"{layer}.bn.{part}" not in tensors]
        if missing:
            raise CheckpointError(f"{path} lacks {missing[0]}; expected a batch norm beside every convolution")
        layer_out = layer
        for theirs, ours in _STEM.items():
            layer_out = layer_out.replace(theirs, ours)
        parts = [tensors[f"{layer}.bn.{part}"] for part in _BATCH_NORM]
        if value.ndim != 4 or any(part.shape != value.shape[:1] for part in parts):
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(value.shape)} and a batch norm that does not fit it"
            )
        weight, bias = fold(value, *parts)
        folded[f"{layer_out}.weight"], folded[f"{layer_out}.bias"] = weight, bias
    return folded


def _infer_config(tensors: StateDict, path: Path) -> TinyViTConfig:
    def rows(name: str) -> int:
        return tensors[f"{_PREFIX}{name}.weight"].shape[0]

    def blocks(stage: int) -> list[str]:
        indices = {name.split(".")[4] for name in tensors if name.startswith(f"{_PREFIX}layers.{stage}.blocks.")}
        return [f"layers.{stage}.blocks.{i}" for i in range(len(indices))]

    try:
        heads, qk, v, mlp, windows = [], [], [], [], []
        for stage in (1, 2, 3):
            names = blocks(stage)
            biases = [tensors[f"{_PREFIX}{b}.attn.attention_biases"] for b in names]
            inner = [tensors[f"{_PREFIX}{b}.attn.proj.weight"].shape[1] for b in names]
            heads.append(tuple(b.shape[0] for b in biases))
            v.append(tuple(i // b.shape[0] for i, b in zip(inner, biases, strict=True)))
            qkv = [rows(f"{name}.attn.qkv") for name in names]
            qk.append(tuple((r - i) // (2 * b.shape[0]) for r, i, b in zip(qkv, inner, biases, strict=True)))
            mlp.append(tuple(rows(f"{n}.mlp.fc1") for n in names))
            windows.append(math.isqrt(biases[0].shape[1]))
        return TinyViTConfig(
            stem_dim=rows("patch_embed.conv1"),
            embed_dims=(rows("patch_embed.conv2"), *(rows(f"layers.{s}.downsample.conv3") for s in range(3))),
            mbconv_dims=tuple(rows(f"{b}.conv1") for b in blocks(0)),
            merge_dims=tuple(rows(f"layers.{s}.downsample.conv1") for s in range(3)),
            num_heads=tuple(heads),
            qk_dims=tuple(qk),
            v_dims=tuple(v),
            mlp_dims=tuple(mlp),
            scale_dim=max(max(stage) for stage in qk),
            window_sizes=tuple(windows),
            out_channels=rows("neck.0"),
        )
    except (KeyError, ValueError, ZeroDivisionError, IndexError) as error:
        raise CheckpointError(
            f"{path} looks like MobileSAM or TinySAM but its encoder cannot be read: {error!r}; expected the names "
            "and shapes of the published state dict"
        ) from error


def read(tensors: StateDict, path: Path) -> Sam:
    """A model from a MobileSAM or TinySAM state dict.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    tensors, own = taken_from(tensors, path)
    folded = _fold_all(tensors, path)
    config = SamConfig(encoder=_infer_config(folded, path), decoder=decoder_of(folded, path), **own)  # type: ignore[arg-type]
    return build(config, folded, path)


def write(sam: Sam) -> StateDict:
    """The MobileSAM state dict of a model; each batch norm has unit scale, and the convolution's bias.

    Raises:
        InputError: the encoder is no TinyViT, or its attention scale cannot be expressed.
    """
    config = sam.config.encoder
    if not isinstance(config, TinyViTConfig):
        raise InputError(f"the model has a {config.kind} encoder; a MobileSAM state dict holds TinyViT only")
    if max(max(stage) for stage in config.qk_dims) != config.scale_dim:
        raise InputError(
            "the model's attention widths are pruned, and a MobileSAM state dict has no place for the original "
            "attention scale. Save it in the native format"
        )
    published: StateDict = {}
    state = {name: value.detach().cpu() for name, value in sam.state_dict().items()}
    for name, value in state.items():
        is_convolution = name.startswith(_PREFIX) and re.search(r"\.(conv\d|local_conv)\.(weight|bias)$", name)
        if not is_convolution:
            published[name] = value
            continue
        layer, kind = name.rsplit(".", 1)
        for theirs, ours in _STEM.items():
            layer = layer.replace(ours, theirs)
        if kind == "weight":
            published[f"{layer}.c.weight"] = value
            continue
        published[f"{layer}.bn.weight"] = torch.ones_like(value)
        published[f"{layer}.bn.bias"] = value
        published[f"{layer}.bn.running_mean"] = torch.zeros_like(value)
        published[f"{layer}.bn.running_var"] = torch.full_like(value, 1 - _EPS)
        published[f"{layer}.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    width = config.embed_dims[-1]  # the published class has a classifier that nothing uses, and loads strictly
    published[f"{_PREFIX}norm_head.weight"], published[f"{_PREFIX}norm_head.bias"] = (
        torch.ones(width),
        torch.zeros(width),
    )
    published[f"{_PREFIX}head.weight"] = torch.zeros(_CLASSES, width)
    published[f"{_PREFIX}head.bias"] = torch.zeros(_CLASSES)
    return published
