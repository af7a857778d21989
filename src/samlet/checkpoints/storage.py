"""The types that a native folder may store weights in: how, how many bytes, and which one a file has.

Storage only: a loaded model computes in float32, whatever its file holds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from samlet.checkpoints import int8
from samlet.checkpoints.reading import StateDict, read_json, read_tensors
from samlet.errors import CheckpointError, InputError, SamletError
from samlet.models import PromptableModel, Sam
from samlet.models.quantized import is_quantized

Store = Literal["float32", "fp16", "int8"]
STORES: dict[Store, str] = {
    "float32": "every weight as it is",
    "fp16": "matrices as 16-bit floats, half the bytes",
    "int8": "matrices as 8-bit integers with one scale an output channel, about a quarter of the bytes",
}
"""How the weights of a native folder are stored; `config.json` says which."""

_TABLES = ("pe_layer.",)  # what positions are made of, which half precision would move
_SHARE = 0.5  # of the bytes, from which a file is said to be of a type


def check_store(store: str) -> None:
    """Raise InputError for a name that is none of `STORES`."""
    if store not in STORES:
        raise InputError(f"store is {store!r}; expected one of {', '.join(STORES)}")


def encode(tensors: StateDict, store: Store) -> StateDict:
    """Tensors as they are stored.

    Raises:
        InputError: a weight that half precision cannot hold.
    """
    if store == "int8":
        return int8.encode(tensors)
    if store == "float32":
        return tensors
    encoded: StateDict = {}
    for name, value in tensors.items():
        encoded[name] = value.half() if _halved(name, value) else value
        if not bool(torch.isfinite(encoded[name]).all()):
            raise InputError(
                f"{name} holds {float(value.abs().max()):.3g}, which 16-bit floats cannot; expected at most 65504. "
                "Store it as float32 or int8"
            )
    return encoded


def decode(tensors: StateDict, store: str, path: Path) -> StateDict:
    """Undo `encode`, up to rounding.

    Raises:
        CheckpointError: weights stored in a way that is not known here.
    """
    if store not in STORES:
        raise CheckpointError(
            f"{path} says that weights are stored as {str(store)[:40]!r}; expected one of {', '.join(STORES)}. "
            "Update samlet, or copy the folder again"
        )
    if store == "int8":
        return int8.decode(tensors)
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def weight_bytes(sam: PromptableModel) -> dict[str, int] | None:
    """Bytes of the weights of a model in each of `STORES`; None where it has none of its own, or quantized ones."""
    if not isinstance(sam, Sam) or is_quantized(sam):
        return None
    tensors = sam.state_dict()
    whole = sum(4 * value.numel() for value in tensors.values())
    halved = sum((2 if _halved(name, value) else 4) * value.numel() for name, value in tensors.items())
    return {"float32": whole, "fp16": halved, "int8": int8.count_bytes(tensors)}


def storage_of(path: Path) -> str | None:
    """What most of the weights of a model folder or a checkpoint file are stored as: `float32`, `fp16`, `int8`, …

    None where there are no weights at `path`, as of an exported model, or they cannot be read.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.suffix == ".safetensors":
            return _most(_listed(path))
        return _most(_counted(read_tensors(path)))
    except (SamletError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _of_folder(folder: Path) -> str | None:
    content = read_json(folder / "config.json")
    if content.get("quantization"):
        return "quantized"
    said = content.get("weights")
    return str(said) if said in STORES else _most(_listed(folder / "model.safetensors"))


def _halved(name: str, value: Tensor) -> bool:
    return value.ndim > 1 and value.is_floating_point() and not any(part in name for part in _TABLES)


def _counted(tensors: Mapping[str, Tensor]) -> Counter[str]:
    found: Counter[str] = Counter()
    for value in tensors.values():
        found[str(value.dtype).removeprefix("torch.")] += value.numel() * value.element_size()
    return found


_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}


def _listed(path: Path) -> Counter[str]:
    """Bytes by type, from the head of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(min(length, path.stat().st_size)))
    found: Counter[str] = Counter()
    for name, entry in head.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            found[_NAMES.get(entry["dtype"], entry["dtype"])] += end - start
    return found


def _most(found: Counter[str]) -> str | None:
    if not found:
        return None
    name, count = found.most_common(1)[0]
    if count < _SHARE * found.total():
        return "mixed"
    return "fp16" if name == "float16" else name
