"""State dicts as training programs leave them: inside other dictionaries, and under prefixes.

What is unwrapped, stripped or left out is one remark.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from samlet.checkpoints.modules import is_module
from samlet.errors import CheckpointError
from samlet.io.remarks import remark, shortened

_NESTED = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "module",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
)
_DEEPEST = 4
_LEVELS = frozenset({"module", "_orig_mod"})  # of DataParallel and torch.compile, at any depth of a name
_ANCHORS = ("image_encoder.", "vision_encoder.")


def unwrap(content: Any, path: Path) -> Any:
    """The state dict, or the module, inside of what a training program saved."""
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        key = next((key for key in _NESTED if _holds_weights(content.get(key))), None)
        if key is None:
            break
        others = [str(other) for other, value in content.items() if other != key and _is_state_dict(value)]
        if others:
            remark(f"{path}: {shortened(others)} left out, the weights are taken from {key!r}")
        content = content[key]
    return content


def _holds_weights(value: Any) -> bool:
    return is_module(value) or (isinstance(value, Mapping) and len(value) > 0)


def _is_state_dict(value: Any) -> bool:
    return is_module(value) or (
        isinstance(value, Mapping) and len(value) > 0 and all(isinstance(one, Tensor) for one in value.values())
    )


def without_levels(name: str) -> str:
    """A name without the levels that `DataParallel` and `torch.compile` add."""
    *levels, last = name.split(".")
    return ".".join([level for level in levels if level not in _LEVELS] + [last])


def without_prefix(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A state dict without the prefix that all names of the model have, such as `model.` or `sam.`.

    Raises:
        CheckpointError: it holds the weights of several models.
    """
    found = {name[: name.index(anchor)] for name in tensors for anchor in _ANCHORS if anchor in name}
    prefixes = sorted(prefix for prefix in found if not prefix or prefix.endswith("."))
    if not prefixes or prefixes == [""]:
        return tensors
    if len(prefixes) > 1:
        names = ", ".join(prefix or "one without prefix" for prefix in prefixes)
        raise CheckpointError(f"{path} holds several models ({names}); expected one: save the one that is wanted alone")
    (prefix,) = prefixes
    others = [name for name in tensors if not name.startswith(prefix)]
    left = f", and {len(others)} others left out ({shortened(others, 3)})" if others else ""
    remark(f"{path}: the prefix {prefix!r} is stripped from {len(tensors) - len(others)} names{left}")
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
