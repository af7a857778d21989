"""The weights of a Hugging Face folder: one file or several, as safetensors or as PyTorch's."""

from __future__ import annotations

from pathlib import Path

from samlet.checkpoints.reading import StateDict, read_json, read_tensors
from samlet.checkpoints.wrappers import without_prefix
from samlet.errors import CheckpointError
from samlet.io.remarks import remark

_WHOLE = ("model.safetensors", "pytorch_model.bin")


def read_weights(folder: Path) -> tuple[StateDict, Path]:
    """All tensors of a folder, and the file that says which.

    Raises:
        CheckpointError: no weights are there, or a part is missing.
    """
    for name in _WHOLE:
        whole, index = folder / name, folder / f"{name}.index.json"
        if whole.is_file():
            return without_prefix(read_tensors(whole), whole), whole
        if index.is_file():
            return _read_parts(folder, index), index
    expected = ", ".join(name for one in _WHOLE for name in (one, f"{one}.index.json"))
    raise CheckpointError(f"{folder} has no weights; expected one of {expected}")


def _read_parts(folder: Path, index: Path) -> StateDict:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} has no weight_map; expected names of tensors and their files")
    names = sorted(set(places.values()))
    tensors: StateDict = {}
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(f"{index} names the file {name!r}; expected files of the same folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which {index.name} names; copy the whole folder again")
        tensors |= read_tensors(folder / name)
    if missing := sorted(places.keys() - tensors.keys()):
        raise CheckpointError(f"{folder} lacks {missing[0]}, which {index.name} names; copy the whole folder again")
    remark(f"{folder}: {len(names)} files of weights are read as one")
    return without_prefix(tensors, index)
