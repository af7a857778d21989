"""samlet's own format: a folder of `config.json`, `model.safetensors` and `provenance.json`.

`config.json` says how weights are stored (see `storage`), and which layers are quantized, if any (see `quantized`).
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from samlet._version import __version__
from samlet.checkpoints import quantized, storage
from samlet.checkpoints.reading import build, read_json, read_tensors
from samlet.checkpoints.storage import Store
from samlet.errors import CheckpointError, InputError
from samlet.io.schema import checked
from samlet.io.writing import MODEL_FILES, new_folder, write_json, write_tensors
from samlet.models import Sam, SamConfig
from samlet.models.quantized import is_quantized

FORMAT = "samlet"
VERSION = 1


class _Content(TypedDict):
    model: dict
    weights: NotRequired[Store]
    quantization: NotRequired[dict | None]


def read(folder: Path) -> Sam:
    """Load a native folder.

    Raises:
        CheckpointError: a file is missing or does not fit the others.
    """
    config, content = _described(folder)
    sam = _built(folder, config, content)
    with contextlib.suppress(CheckpointError):  # a model is one without it, too
        sam.provenance = read_json(folder / "provenance.json")
    return sam


def read_config(folder: Path) -> SamConfig:
    """The architecture of a native folder, without its weights.

    Raises:
        CheckpointError: see `read`.
    """
    return _described(folder)[0]


def _described(folder: Path) -> tuple[SamConfig, Mapping[str, Any]]:
    """The architecture, and all that `config.json` says."""
    content = read_json(folder / "config.json")
    if content.get("format") != FORMAT:
        raise CheckpointError(f"{folder / 'config.json'} has format {content.get('format')!r}; expected {FORMAT!r}")
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise CheckpointError(
            f"{folder} has format version {content.get('version')!r}; this samlet reads {VERSION}. Update samlet"
        )
    try:
        content = checked(content, _Content)
        config = SamConfig.from_dict(content["model"])
    except InputError as error:
        raise CheckpointError(f"{folder / 'config.json'}: model: {error}") from error
    return config, content


def _built(folder: Path, config: SamConfig, content: Mapping[str, Any]) -> Sam:
    tensors = read_tensors(folder / "model.safetensors")
    tensors = storage.decode(tensors, content.get("weights", "float32"), folder / "config.json")
    section = content.get("quantization")
    if section is None:
        return build(config, tensors, folder / "model.safetensors")
    return build(
        config,
        tensors,
        folder / "model.safetensors",
        lambda sam, found: quantized.put_into(sam, section, found, folder / "config.json"),
    )


def check_float(sam: Sam, form: str) -> None:
    """Refuse a model with quantized layers, where a format cannot hold them.

    Raises:
        InputError: the model has some.
    """
    if is_quantized(sam):
        raise InputError(
            f"the model has quantized layers, which {form} cannot hold; expected float weights. Save it as native, or "
            "save the model that it was made from"
        )


def write(
    sam: Sam,
    folder: Path,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    run_folder: bool = False,
    store: Store = "float32",
) -> None:
    """Write a native folder.

    Args:
        sam: the model.
        folder: new or empty folder.
        provenance: what the model comes from: parents, recipe, data, seed, figures.
        overwrite: replace an earlier model in `folder`.
        run_folder: the run that makes the model keeps its own folder in there.
        store: how weights are stored, one of `storage.STORES`.

    Raises:
        InputError: the folder holds something else, or the weights cannot be stored so.
    """
    with new_folder(folder, MODEL_FILES, overwrite, run_folder) as temporary:
        write_into(sam, temporary, provenance, store)


def write_into(sam: Sam, folder: Path, provenance: Mapping[str, Any] | None = None, weights: Store = "float32") -> None:
    """Write the three files into an existing folder; a quantized model stores its weights as it does, by `float32`."""
    storage.check_store(weights)
    tensors = {name: value.detach().cpu().contiguous() for name, value in sam.state_dict().items()}
    content = {"format": FORMAT, "version": VERSION, "weights": weights, "model": sam.config.to_dict()}
    if weights != "float32":
        check_float(sam, f"storage as {weights}")
        tensors = storage.encode(tensors, weights)
    elif is_quantized(sam):
        tensors = quantized.encode(sam, tensors)
        content["quantization"] = quantized.describe(sam)
    write_tensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", content)
    said = {"read": list(sam.read_remarks)} if sam.read_remarks else {}
    write_provenance(folder, {**said, **(provenance or {})})


def write_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write, or replace, what a model comes from; versions are added."""
    versions = {"samlet": __version__, "torch": torch.__version__, "python": platform.python_version()}
    write_json(folder / "provenance.json", {**provenance, "versions": versions})
