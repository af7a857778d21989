"""The decoder's weights beside its graph, for everything mode.

A graph answers each prompt whole: all masks in full, whoever looks at them. Everything mode asks a thousand prompts and
keeps a tenth of the masks; `samlet.models.FastMaskDecoder` is made for that, and needs weights. They are stored as the
graph has them: float32, half, or int8 with steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from samlet.checkpoints.reading import fill, read_tensors
from samlet.errors import CheckpointError
from samlet.io.writing import new_file, write_tensors
from samlet.models import Sam, SamConfig
from samlet.models.quantized import QuantizedLayer, along, out_axis

_PARTS = ("prompt_encoder", "mask_decoder")
_STEPS = "weight_scale"
_LEVELS = 128


def write_shared_weights(sam: Sam, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write prompt encoder and mask decoder.

    Args:
        sam: the model; of quantized layers the integers and their steps are written.
        path: of a new safetensors file.
        dtype: of all other tensors.
    """
    tensors: dict[str, Tensor] = {}
    for part in _PARTS:
        module: nn.Module = getattr(sam, part)
        layers = {n: m for n, m in module.named_modules() if isinstance(m, QuantizedLayer)}
        for name, value in module.state_dict().items():
            layer, _, what = name.rpartition(".")
            if ".inputs." in f".{name}" or what == _STEPS:
                continue
            steps = layers[layer].weight_scale if layer in layers and what == "weight" else None
            if steps is None:
                tensors[f"{part}.{name}"] = value.to(dtype)
            else:
                whole = (value / along(steps, value, out_axis(layers[layer]))).round()
                tensors[f"{part}.{name}"] = whole.clamp(-_LEVELS, _LEVELS - 1).to(torch.int8)
                tensors[f"{part}.{layer}.{_STEPS}"] = steps.float()
    with new_file(path) as temporary:
        write_tensors(temporary, tensors)


def read_shared_weights(path: Path, config: SamConfig) -> Sam:
    """A model that has all but its image encoder.

    Raises:
        CheckpointError: the file is damaged, or another model's.
    """
    with torch.device("meta"):
        sam = Sam(config)
    found = read_tensors(path)
    for part in _PARTS:
        module: nn.Module = getattr(sam, part)
        module.to_empty(device="cpu")
        own = {n.removeprefix(f"{part}."): v for n, v in found.items() if n.startswith(f"{part}.")}
        fill(module, {name: _as_float(module, name, own, path) for name in own if not name.endswith(_STEPS)}, path)
    return sam.eval().requires_grad_(False)


def _as_float(module: nn.Module, name: str, tensors: dict[str, Tensor], path: Path) -> Tensor:
    value = tensors[name]
    if value.is_floating_point():
        return value.float()
    layer = name.rpartition(".")[0]
    steps = tensors.get(f"{layer}.{_STEPS}")
    try:
        axis = out_axis(module.get_submodule(layer))
    except AttributeError:
        axis = -1
    if steps is None or axis < 0 or steps.shape != (value.shape[axis],):
        raise CheckpointError(f"{path} has integers in {name} without their steps; export the model again")
    return value.float() * along(steps.float(), value, axis)
