"""Reading tensors from files of strangers: nothing is ever unpickled freely."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from samlet.checkpoints.adapters import adapter_config, merge_adapters
from samlet.checkpoints.heads import check_safetensors
from samlet.checkpoints.modules import PickledModule, flatten, is_module
from samlet.checkpoints.prescan import DamagedError, UnsafeError
from samlet.checkpoints.unpickling import read_file
from samlet.checkpoints.wrappers import unwrap, without_levels, without_prefix
from samlet.errors import CheckpointError, InputError
from samlet.io import documents
from samlet.models import Sam, SamConfig

StateDict = dict[str, Tensor]

EXPORT = "export.json"
"""What the folder of an exported model has in place of `config.json`; see `samlet.runtimes`."""

_SHOWN = 4
_LARGEST_JSON = 1 << 26  # bytes; published ones have a few thousand
_LARGEST = torch.finfo(torch.float32).max
_ALIGNMENT = 64  # bytes, of the memory that torch allocates


def read_tensors(path: Path) -> StateDict:
    """The named tensors of a `.safetensors`, `.pth` or `.pt` file: of a state dict, or of a whole pickled module.

    Raises:
        CheckpointError: as `read_module`.
    """
    return read_module(path).tensors


def read_module(path: Path) -> PickledModule:
    """The named tensors of a file, told apart by content, not by name; and what a pickled module says beside them.

    Raises:
        CheckpointError: the file is missing, empty, truncated, a web page, or holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a checkpoint (.safetensors, .pth or .pt)")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise CheckpointError(f"{path} is empty; expected a checkpoint. Download or copy it again")
    if head.lstrip()[:1] == b"<":
        start = head.lstrip()[:40].decode("utf-8", "replace").replace("\n", " ")
        raise CheckpointError(
            f"{path} is a web page (it starts with {start!r}); expected a checkpoint. "
            "The download was probably redirected to a login or error page; download it again"
        )
    if head[8:9] == b"{" or path.suffix == ".safetensors":  # first: the length before it may look like a pickle
        return PickledModule(_state_dict(path, _read_safetensors(path, size), adapter_config(_metadata(path), path)))
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return _find_module(path, read_objects(path, size))
    raise CheckpointError(
        f"{path} starts with {head[:8]!r}; expected a safetensors file or a PyTorch checkpoint (.pth, .pt)"
    )


def _read_safetensors(path: Path, size: int) -> StateDict:
    try:
        check_safetensors(path, size)
        return load_file(path)
    except (SafetensorError, DamagedError, ValueError, OSError, OverflowError) as error:
        raise CheckpointError(
            f"{path} ({size} bytes) is not a complete safetensors file: {error}. Download or copy it again"
        ) from error


def read_objects(path: Path, size: int) -> Any:
    """What a PyTorch file holds; see `samlet.checkpoints.unpickling`.

    Raises:
        CheckpointError: the file is not complete, or names something that no checkpoint needs.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04" and not _has_table(path):
            raise CheckpointError(
                f"{path} ({size} bytes) is a truncated PyTorch checkpoint: its table of contents is missing. "
                "Download or copy it again"
            )
    try:
        return read_file(path)
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} holds {error}, not only tensors; expected a state dict. "
            "Nothing of it was run; ask its author for a state dict or a safetensors file"
        ) from error
    except DamagedError as error:
        raise CheckpointError(
            f"{path} ({size} bytes) is not a complete PyTorch checkpoint: {error}. Download or copy it again"
        ) from error


def _has_table(path: Path) -> bool:
    """Whether an archive has its table of contents, which stands at its end."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # of several disks, as a damaged byte says
        return False


def _find_module(path: Path, content: Any) -> PickledModule:
    said = adapter_config(content, path)
    content = unwrap(content, path)
    if is_module(content):
        return flatten(content, path)
    return PickledModule(_state_dict(path, content, said))


def _metadata(path: Path) -> Mapping[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def _state_dict(path: Path, content: Any, adapters: Mapping[str, Any]) -> StateDict:
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds {type(content).__name__}; expected a state dict (names to tensors)")
    wrong = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(f"{path} holds entries that are no tensors ({shorten(wrong)}); expected a state dict")
    tensors = {without_levels(str(key)): value for key, value in content.items()}
    if len(tensors) < len(content):
        raise CheckpointError(f"{path} holds entries both with and without 'module.' in their names; expected either")
    return merge_adapters(without_prefix(tensors, path), adapters, path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is missing or no JSON object.
    """
    content = documents.read_json(path, _LARGEST_JSON, CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


class _Outline(TorchFunctionMode):
    """While it lasts, modules are made with their weights on the `meta` device, where nothing is allocated or drawn.

    What modules compute themselves, such as tables of places, is computed, so that buffers outside of the state dict
    are there. (With everything on `meta` they were not, and torch would load its compiler, seconds of work.)

    Raises:
        RuntimeError: a table has more than `LARGEST` elements.
    """

    LARGEST = 2**25
    _FILLED = frozenset({torch.empty, torch.zeros, torch.ones, torch.randn})

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._FILLED:
            return torch.empty(*args, **{**kwargs, "device": "meta"})
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        shapes = [one.shape for one in args if isinstance(one, Tensor) and not one.is_meta]
        with contextlib.suppress(ValueError):  # that they do not broadcast
            shapes = [torch.Size(np.broadcast_shapes(*shapes))]
        if (elements := max(map(math.prod, shapes))) > self.LARGEST:
            raise RuntimeError(f"a table of {elements} elements; expected at most {self.LARGEST}")
        return func(*args, **kwargs)


def build(
    config: SamConfig,
    tensors: StateDict,
    path: Path,
    prepare: Callable[[Sam, StateDict], StateDict] = lambda _, tensors: tensors,
) -> Sam:
    """A model of a config that stands in a file, with its weights; what does not fit them is never allocated.

    Args:
        config: the architecture.
        tensors: from the file.
        path: the file, for messages.
        prepare: changes the model before it is filled, whose weights are on the `meta` device, and returns the tensors
            to fill it with.

    Raises:
        CheckpointError: as `fill`.
    """
    try:
        with _Outline():
            sam = Sam(config)
    except (RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{path} cannot hold a model of its config: {str(error).splitlines()[0]}") from error
    tensors = prepare(sam, tensors)
    expected = sam.state_dict()
    _check_names_and_shapes(expected, tensors, path)
    taken: set[int] = set()
    check_finite({name: tensors[name] for name in expected}, path)
    sam.load_state_dict({name: _own(tensors[name], place, taken) for name, place in expected.items()}, assign=True)
    return sam.to(torch.get_default_device()).eval()


def _own(value: Tensor, place: Tensor, taken: set[int]) -> Tensor:
    """A tensor that may stand in a place of a module: of its type, laid out as it is, with memory of its own.

    The memory begins where torch would begin it, too: sums come out differently, in their last bits, elsewhere.

    Args:
        value: from a file; it may share memory with others, or with the file.
        place: what the module has there.
        taken: where memory begins that other places have; the answer's is added.
    """
    storage = value.untyped_storage()
    start, whole = storage.data_ptr(), storage.nbytes() == value.numel() * value.element_size()
    alike = value.dtype == place.dtype and value.stride() == place.stride()
    if not (alike and whole and start % _ALIGNMENT == 0 and start not in taken):
        value = torch.empty_strided(place.shape, place.stride(), dtype=place.dtype, device="cpu").copy_(value)
    taken.add(value.data_ptr())
    return value


def fill(module: nn.Module, tensors: StateDict, path: Path) -> None:
    """Load tensors into a module; names and shapes must match exactly.

    Raises:
        CheckpointError: missing, surplus or misshapen entries, named.
    """
    expected = module.state_dict()
    _check_names_and_shapes(expected, tensors, path)
    check_finite({name: tensors[name] for name in expected}, path)
    module.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected})


def check_finite(tensors: StateDict, path: Path) -> None:
    """Refuse weights that are NaN or infinite, or are so in single precision; each is looked at once.

    Raises:
        CheckpointError: the first such tensor, by its name in the file.
    """
    broken = next((name for name, value in tensors.items() if not _is_finite(value)), None)
    if broken is None:
        return
    with contextlib.suppress(Exception):  # its name in the file, where that is another one
        if broken not in (there := read_tensors(path)):
            broken = next((name for name, value in there.items() if not _is_finite(value)), broken)
    raise CheckpointError(
        f"{path}: {broken} holds values that are NaN or infinite; expected finite weights. Its training diverged or "
        "the file is damaged: take an earlier checkpoint, or download it again"
    )


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel() or value.is_meta:
        return True
    least, most = (float(limit) for limit in value.aminmax())  # which a NaN goes through
    return abs(least) <= _LARGEST and abs(most) <= _LARGEST


def _check_names_and_shapes(expected: Mapping[str, Tensor], tensors: StateDict, path: Path) -> None:
    problems = []
    if missing := sorted(expected.keys() - tensors.keys()):
        problems.append(f"{len(missing)} missing ({shorten(missing)})")
    if surplus := sorted(tensors.keys() - expected.keys()):
        problems.append(f"{len(surplus)} surplus ({shorten(surplus)})")
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({shorten(misshapen)})")
    if problems:
        raise CheckpointError(
            f"{path} does not hold the weights expected: {'; '.join(problems)}. "
            "The file is of another architecture or another version"
        )


def shorten(names: Iterable[str]) -> str:
    """The first few names, and how many more."""
    names = list(names)
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
