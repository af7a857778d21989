"""Whole pickled modules as the state dict that they would give, without the code of their classes.

PyTorch's modules keep what `state_dict()` names in three of their attributes, `_parameters`, `_buffers` and `_modules`.
The other attributes say what no tensor says: how attention is scaled, how many bits a layer has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from samlet.checkpoints.unpickling import PickleStub
from samlet.errors import CheckpointError

_FIELDS = ("_parameters", "_buffers", "_modules")
_MAX_ENTRIES = 200_000  # tensors, modules and attributes together; published models have some ten thousand
_MAX_DEPTH = 64
_MAX_NAME = 512
_MAX_TUPLE = 8
_WRAPPER = "torch.nn.parallel."
_NEVER_SAVED = frozenset({"pixel_mean", "pixel_std"})  # buffers of every published SAM that its state dict leaves out

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class PickledModule:
    """What a pickled module holds, by the names that `state_dict()` and `named_modules()` would give.

    Levels of `DataParallel` are left out of the names.

    Attributes:
        tensors: the state dict.
        classes: module and name of the class of every module, such as `torch.nn.modules.linear.Linear`.
        attributes: numbers, texts and tuples of them among the attributes of every module.
        non_persistent: buffers that a state dict leaves out.
    """

    tensors: dict[str, Tensor]
    classes: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, Attributes] = field(default_factory=dict)
    non_persistent: dict[str, Tensor] = field(default_factory=dict)


def is_module(found: Any) -> bool:
    """Whether a record is that of a pickled module."""
    return isinstance(found, PickleStub) and isinstance(found.state, Mapping) and all(k in found.state for k in _FIELDS)


def flatten(root: PickleStub, path: Path) -> PickledModule:
    """Read the tree of a pickled module.

    Args:
        root: a record for which `is_module` holds.
        path: the file, for messages.

    Raises:
        CheckpointError: the tree is no tree of modules and tensors, or is larger than any model's.
    """
    flat = PickledModule({})
    left = _MAX_ENTRIES
    stack: list[tuple[str, Any, int]] = [("", root, 0)]
    while stack:
        name, module, depth = stack.pop()
        shown = name or "its root"
        if not is_module(module) or not all(isinstance(module.state[key], Mapping) for key in _FIELDS):
            raise _malformed(path, f"{shown} is no module")
        parameters, buffers, children = (module.state[key] for key in _FIELDS)
        listed = _listed(module.state.get("_non_persistent_buffers_set"))
        left -= 1 + len(module.state) + len(listed) + len(parameters) + len(buffers) + len(children)
        if left < 0 or depth > _MAX_DEPTH or len(name) > _MAX_NAME:
            raise _malformed(path, f"it is deeper than {_MAX_DEPTH} levels or has more than {_MAX_ENTRIES} entries")
        if not all(_is_name(key) for key in (*parameters, *buffers, *children)):
            raise _malformed(path, f"{shown} has an entry without a proper name")
        left_out = {key for key in listed if isinstance(key, str)}
        flat.classes[name] = module.path
        flat.attributes[name] = {key: value for key, value in module.state.items() if _is_plain(key, value)}
        for key, value in parameters.items():
            _put(flat.tensors, _join(name, key), value, path)
        for key, value in buffers.items():
            full = _join(name, key)
            hidden = key in left_out or full in _NEVER_SAVED
            _put(flat.non_persistent if hidden else flat.tensors, full, value, path)
        wrapper = module.path.startswith(_WRAPPER)
        stack += [
            (name if wrapper and key == "module" else _join(name, key), child, depth + 1)
            for key, child in reversed(children.items())
            if child is not None
        ]
    return flat


def _put(tensors: dict[str, Tensor], name: str, value: Any, path: Path) -> None:
    """Add a parameter or buffer, unless it is one that is None."""
    if value is None:
        return
    if not isinstance(value, Tensor) or name in tensors:
        raise _malformed(path, f"{name} is no tensor, or is there twice")
    tensors[name] = value


def _malformed(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds a pickled module that cannot be read: {reason}; expected the module tree of a published model. "
        "Ask its author for a state dict"
    )


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _MAX_NAME and "." not in key and key.isprintable()


def described(value: Any) -> str:
    """A value among the attributes in a few characters of one line."""
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 40):
        return repr(value)
    return repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"


def _is_plain(key: Any, value: Any) -> bool:
    entries = value if isinstance(value, tuple) and len(value) <= _MAX_TUPLE else (value,)
    return _is_name(key) and key[0] != "_" and all(isinstance(entry, bool | int | float | str) for entry in entries)


def _listed(found: Any) -> Collection[Any]:
    """The entries of a set, as pickle protocols before and since 4 write it."""
    if isinstance(found, PickleStub) and found.path == "builtins.set" and found.args:
        found = found.args[0]
    return found if isinstance(found, list | set | frozenset) else ()
