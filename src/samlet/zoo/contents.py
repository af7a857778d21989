"""Which files of a repository on the hub make the model that is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from samlet.checkpoints.adapters import BESIDE
from samlet.checkpoints.reading import EXPORT
from samlet.errors import InputError

CONFIG = "config.json"
_BESIDE_WEIGHTS = ("preprocessor_config.json", "processor_config.json", "provenance.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CHECKPOINTS = frozenset({".pth", ".pt", ".ckpt", ".safetensors", ".bin"})
_GRAPHS = frozenset({".json", ".onnx", ".data", ".xml", ".bin", ".pte", ".safetensors"})
_SHOWN = 5


def model_files(names: Sequence[str], repository: str) -> tuple[str, ...]:
    """The files to fetch, a config first; one file is a checkpoint, several are a model folder.

    Args:
        names: of all files of the repository, with `/` between folders.
        repository: for messages.

    Raises:
        InputError: there is no model, or there are several.
    """
    top = [name for name in names if "/" not in name]
    if EXPORT in top:
        return (EXPORT, *(name for name in top if PurePosixPath(name).suffix in _GRAPHS and name != EXPORT))
    weights = next((found for whole in _WEIGHTS if (found := _weights(top, whole))), ())
    if CONFIG in top and weights:
        return (CONFIG, *(name for name in _BESIDE_WEIGHTS if name in top), *weights)
    if BESIDE in top:
        raise InputError(
            f"{repository} holds low-rank adapters (LoRA) and not the model that they adapt; expected the whole model: "
            "load the base model with the adapters, merge them (in PEFT: merge_and_unload), and save it"
        )
    graphs = [name for name in top if name.endswith(".onnx")]
    checkpoints = [name for name in names if PurePosixPath(name).suffix in _CHECKPOINTS]
    if graphs and not checkpoints:
        return tuple(graphs)
    if len(checkpoints) == 1:
        return (checkpoints[0],)
    if checkpoints:
        shown = ", ".join(f"{repository}/{name}" for name in checkpoints[:_SHOWN])
        more = f" and {len(checkpoints) - _SHOWN} more" if len(checkpoints) > _SHOWN else ""
        raise InputError(f"{repository} holds several checkpoints; name one of them: {shown}{more}")
    held = ", ".join(names[:_SHOWN]) or "nothing"
    raise InputError(
        f"{repository} holds no model that samlet reads ({held}); expected {CONFIG} with {' or '.join(_WEIGHTS)}, an "
        "exported model, or a checkpoint"
    )


def _weights(names: Sequence[str], whole: str) -> tuple[str, ...]:
    """The file of weights, or its parts with their index."""
    if whole in names:
        return (whole,)
    index = f"{whole}.index.json"
    stem, suffix = whole.rsplit(".", 1)
    part = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}")
    return (index, *(name for name in names if part.fullmatch(name))) if index in names else ()
