"""The zoo: names of published models, where their weights are, and loading by name or path."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from samlet.checkpoints import load_checkpoint
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.models import PromptableModel, Sam, trainable
from samlet.runtimes import ExportedSam, is_exported
from samlet.zoo import hub
from samlet.zoo.reference import parse_reference
from samlet.zoo.registry import ENTRIES, Entry, find

__all__ = [
    "ENTRIES",
    "Entry",
    "find",
    "is_available",
    "load",
    "load_path",
    "load_weights",
    "locate",
    "model_or_name",
    "named_weights",
]


def embedded_folder(entry: Entry) -> Path:
    """Folder inside the package of an embedded entry."""
    return Path(str(files("samlet") / "assets" / entry.name))


def is_available(entry: Entry) -> bool:
    """Whether the weights are on this disk."""
    return entry.embedded or (not entry.bring and hub.cached(entry) is not None)


def locate(model: str | Path) -> Path:
    """Where a model is on this disk; a zoo name, or `ORG/NAME` of the Hugging Face hub, is downloaded on first use.

    A name of the zoo means the zoo, also where a file or folder is called so; `./name` means that. A file or folder
    comes before a repository of the hub; `hf://ORG/NAME` means that.

    Raises:
        InputError: neither a name nor anything on this disk, or a repository without a model.
        SamletError: a download failed.
    """
    path = expanded(model)
    if path.exists() and str(model) not in ENTRIES:
        return path
    reference = parse_reference(model) if isinstance(model, str) else None
    if reference is not None:
        return hub.locate_reference(reference)
    entry = find(str(model))
    if entry.embedded:
        return embedded_folder(entry)
    if entry.bring:
        raise InputError(f"{entry.name} cannot be fetched: {entry.bring}")
    if not entry.commercial and hub.cached(entry) is None:
        print(f"samlet: the weights of {entry.name} are for non-commercial use only ({entry.licence})", file=sys.stderr)
    file = hub.download(entry)
    return file.parent if len(entry.files) > 1 else file


def load(model: str | Path) -> Sam | ExportedSam:
    """Load a model, ready for inference.

    Args:
        model: a zoo name (`samlet models` lists them), a repository of the Hugging Face hub (`ORG/NAME`, or
            `ORG/NAME@REVISION`), a model folder, also of an exported model, or a checkpoint file in any format that
            samlet knows.

    Returns:
        A `Sam`; of the folder of an exported model an `ExportedSam`, which is used in the same way.

    Raises:
        InputError: an unknown name, or a file that cannot be read; the message says why.
        SamletError: a download failed.
    """
    return load_path(locate(model))


def load_path(path: Path) -> Sam | ExportedSam:
    """As `load`, of something on this disk."""
    return ExportedSam(path) if is_exported(path) else _checkpoint(path)


def load_weights(model: str | Path) -> Sam:
    """As `load`, of models that have weights, to train, cut or quantize them.

    Raises:
        InputError: also for an exported model, which has none.
        SamletError: a download failed.
    """
    return _checkpoint(locate(model))


def model_or_name(model: Any, what: str) -> Sam | str | Path:
    """A model to train, cut or quantize as it was given: itself, or its name or path, which is not loaded yet.

    Raises:
        InputError: an exported model, or something that is no model and no name.
    """
    if isinstance(model, str | Path):
        return model
    if not isinstance(model, PromptableModel):
        raise InputError(
            f"{what} is a {type(model).__name__}; expected a model of samlet's, or its name or path as for samlet.load"
        )
    return trainable(model, what)


def named_weights(model: Sam | str | Path, device: torch.device, otherwise: str) -> tuple[Sam, str]:
    """A model with weights on a device, and what to call it.

    Args:
        model: it, where it is at hand, which then stays on its device; or its name or path.
        device: where a named model goes.
        otherwise: what to call a model that has no name.
    """
    return (model, otherwise) if isinstance(model, Sam) else (load_weights(model).to(device), Path(model).name)


def _checkpoint(path: Path) -> Sam:
    if is_exported(path):
        return load_checkpoint(path)  # which says what to give instead
    graphs = path.is_dir() and not (path / "config.json").exists() and any(path.glob("*.onnx"))
    if path.suffix == ".onnx" or graphs:
        raise InputError(
            f"{path} is an ONNX graph, as of FastSAM or SAM 2, which `samlet label`, `evaluate` and `compare` run; "
            "expected a model folder or a checkpoint here"
        )
    return load_checkpoint(path)
