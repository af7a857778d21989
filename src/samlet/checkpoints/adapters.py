"""Low-rank adapters (LoRA) that stand beside the weights they adapt: they are merged into them.

Two ways of writing them are in use. PEFT puts `lora_A` (rank, inputs) and `lora_B` (outputs, rank) under the layer,
whose own weight is called `base_layer`, and multiplies by `lora_alpha / rank`, with `use_rslora` by `lora_alpha /
sqrt(rank)`. Programs around SAM (SAMed, micro-sam) put `linear_a_q`, `linear_b_q`, `linear_a_v`,
`linear_b_v` under the attention's `qkv`, whose own layer is called `qkv` or `qkv_proj`, and add them with scale 1.

Source of the arithmetic: Hu et al., "LoRA", 2022, section 4.1: W + scale * B A.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samlet.errors import CheckpointError, InputError
from samlet.io.documents import read_json
from samlet.io.remarks import remark, shortened

_PEFT = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight")
_FUSED = re.compile(r"(?P<layer>.+)\.(w_(?P<side>[ab])_linear|linear_(?P<other>[ab]))_(?P<part>[qkv])\.weight")
_ALONE = re.compile(r"(.*\.)?w_[ab]_\d+")
_PARTS = "qkv"
_CONFIGS = ("lora_config", "peft_config", "lora", "config", "hyper_parameters", "hparams", "args", "default")
BESIDE = "adapter_config.json"
"""What PEFT writes beside its weights."""


def adapter_config(content: Any, path: Path) -> dict[str, Any]:
    """What a checkpoint says about its adapters: `lora_alpha`, `use_rslora`.

    Args:
        content: the file's outermost dictionary, or the metadata of a safetensors file.
        path: the file; an `adapter_config.json` beside it counts too.
    """
    beside = path.parent / BESIDE
    if beside.is_file():
        try:
            found = read_json(beside)
        except InputError:  # it matters only where there are adapters, which then lack their scale
            found = {}
        if isinstance(found, dict) and "lora_alpha" in found:
            return found
    return _search(content, 3)


def _search(content: Any, depth: int) -> dict[str, Any]:
    if not isinstance(content, Mapping) or not depth:
        return {}
    if "lora_alpha" in content:
        return {str(key): content[key] for key in ("lora_alpha", "use_rslora") if key in content}
    return next((found for key in _CONFIGS if (found := _search(content.get(key), depth - 1))), {})


def merge_adapters(tensors: dict[str, Tensor], said: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """A state dict with its low-rank adapters merged into the weights they adapt; the same one if it has none.

    Args:
        tensors: by name.
        said: `adapter_config` of the file.
        path: the file, for messages.

    Raises:
        CheckpointError: there are adapters without the weights they adapt, without their scale, or of shapes that do
            not fit.
    """
    pairs: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if peft := _PEFT.fullmatch(name):
            pairs.setdefault((peft["layer"], ""), {})[peft["side"].lower()] = value
        elif fused := _FUSED.fullmatch(name):
            pairs.setdefault((fused["layer"], fused["part"]), {})[fused["side"] or fused["other"]] = value
    alone = [name for name in tensors if _ALONE.fullmatch(name)]
    if not pairs and not alone:
        return tensors
    merged = {
        _own_name(name): value
        for name, value in tensors.items()
        if not _PEFT.fullmatch(name) and not _FUSED.fullmatch(name) and ".original_module." not in name
    }
    layers = {layer for layer, _ in pairs}
    missing = alone or sorted(layer for layer in layers if f"{layer}.weight" not in merged)
    if missing:
        raise CheckpointError(
            f"{path} holds low-rank adapters (LoRA) without the weights that they adapt ({shortened(missing, 3)}); "
            "expected the whole model: load the base model with the adapters, merge them, and save its state dict"
        )
    ranks = set()
    for (layer, part), pair in sorted(pairs.items()):
        weight = merged[f"{layer}.weight"]
        ranks.add(pair["a"].shape[0] if "a" in pair else 0)
        merged[f"{layer}.weight"] = _merged(weight, pair, part, said, f"{path}: {layer}")
    scales = f"lora_alpha {said['lora_alpha']}" if any(not part for _, part in pairs) else "scale 1"
    remark(
        f"{path}: low-rank adapters (LoRA) of {len(layers)} layers are merged into their weights: rank "
        f"{', '.join(map(str, sorted(ranks)))}, {scales}"
    )
    return merged


def _own_name(name: str) -> str:
    """The name of an adapted layer's own weight in a model without adapters."""
    name = re.sub(r"\.modules_to_save\.[^.]+\.", ".", name).replace(".base_layer.", ".")
    return re.sub(r"\.qkv\.(qkv|qkv_proj)\.(weight|bias)$", r".qkv.\2", name)


def _merged(weight: Tensor, pair: Mapping[str, Tensor], part: str, said: Mapping[str, Any], where: str) -> Tensor:
    if set(pair) != {"a", "b"}:
        raise CheckpointError(f"{where} has one matrix of a low-rank adapter; expected both")
    a, b = pair["a"].double(), pair["b"].double()
    rows = weight.shape[0] // 3 if part else weight.shape[0]
    if weight.dim() != 2 or a.dim() != 2 or b.shape != (rows, a.shape[0]) or a.shape[1] != weight.shape[1]:
        raise CheckpointError(
            f"{where} has an adapter of shapes {tuple(a.shape)} and {tuple(b.shape)}, which does not fit its weight "
            f"{tuple(weight.shape)}; expected (rank, {weight.shape[-1]}) and ({rows}, rank)"
        )
    start = _PARTS.index(part) * rows if part else 0
    result = weight.double()
    scale = 1.0 if part else _scale(said, a.shape[0], where)
    result[start : start + rows] += scale * (b @ a)
    return result.to(weight.dtype if weight.dtype.is_floating_point else torch.float32)


def _scale(said: Mapping[str, Any], rank: int, where: str) -> float:
    try:
        alpha = float(said["lora_alpha"])
    except (KeyError, TypeError, ValueError):
        alpha = math.nan
    if not math.isfinite(alpha):
        raise CheckpointError(
            f"{where} has a low-rank adapter (LoRA) of rank {rank}, and nothing says its scale; expected lora_alpha in "
            f"the file or in {BESIDE} beside it, or a merged model (in PEFT: merge_and_unload)"
        )
    return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)
