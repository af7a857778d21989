"""PyTorch files read without running anything of theirs.

A pickle is a program: it names functions and calls them. Here every name becomes an inert record of what was asked for,
known names only; nothing is imported and nothing is called. Tensors are then made from the records.

The file layouts are PyTorch's: an archive with `data.pkl` and one uncompressed entry for each storage, or, before
version 1.6, pickles in a row with the storages behind them.

One module, though long: the record of a name, the reader and the storages behind it are one promise, that nothing runs,
and are read together.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from samlet.checkpoints.heads import check_archive
from samlet.checkpoints.prescan import MAX_PICKLE, DamagedError, UnsafeError, end_of_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_NAMES = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "builtins.set",
        "builtins.dict",
        "builtins.getattr",  # of a bound method that stands in a module's attributes: recorded, never asked
        "builtins.int",
        "builtins.float",
        "functools.partial",
        "argparse.Namespace",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "torch.nn.functional.gelu",
        "torch._C._nn.gelu",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "torch.utils.hooks.RemovableHandle",
        *(f"torch.{name}" for name in _STORAGES),
        *(str(dtype) for dtype in _STORAGES.values()),
    }
)
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names, which pickle protocol 2 keeps
_PACKAGES = ("torch.nn.modules.", "torch.nn.parallel.", "torch.nn.parameter.", "timm.models.", "timm.layers.")
_TRAINERS = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "omegaconf",
    "argparse",
    "pathlib",
    "torch_em",
    "micro_sam",
)
"""Packages whose objects stand beside the weights in what training programs save; they become inert records too."""
_PUBLISHERS = (
    "segment_anything",
    "segment_anything_kd",
    "mobile_sam",
    "tinysam",
    "quantization_layer",
    "edge_sam",
    "efficient_sam",
)
"""Packages whose classes stand in published files; their names are recorded, their code is never needed."""


class PickleStub:
    """What a file would have made by calling something: its arguments, its state and its items.

    Attributes:
        path: module and name of the class or function, such as `torch.nn.modules.linear.Linear`.
        args: what it would have been called with.
        state: what its attributes would have been.
        items: what it would have been filled with, as a dictionary.
        values: what it would have been filled with, as a list.
    """

    path = ""

    def __new__(cls, *args: Any, **_: Any) -> PickleStub:  # noqa: D102
        made = object.__new__(cls)
        made.args, made.state, made.items, made.values = args, {}, {}, []
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        self.args: tuple[Any, ...]
        self.state: Any
        self.items: dict[Any, Any]
        self.values: list[Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def extend(self, values: Sequence[Any]) -> None:
        """What a pickle calls to fill a list."""
        self.values.extend(values)

    def append(self, value: Any) -> None:
        """What a pickle calls to fill a list."""
        self.values.append(value)


@dataclass(frozen=True)
class _Storage:
    """Numbers that tensors view: their key in the file, type and count."""

    key: str
    dtype: torch.dtype
    count: int


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._types: dict[str, type[PickleStub]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = _RENAMED.get(module, module)
        path = f"{module}.{name}"
        known = path in _NAMES or path.startswith(_PACKAGES) or module.split(".")[0] in (*_PUBLISHERS, *_TRAINERS)
        if not known:
            raise UnsafeError(path)
        return self._types.setdefault(path, type(name.rpartition(".")[2] or "Unnamed", (PickleStub,), {"path": path}))

    def persistent_load(self, pid: Any) -> _Storage | type[PickleStub]:
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module" and _is_inert_type(pid[1]):
            return cast(type[PickleStub], pid[1])  # the layout before PyTorch 1.6 adds a class's source text
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise DamagedError("a tensor without storage")
        kind, key, count = pid[1], pid[2], pid[4]
        name = kind.path.removeprefix("torch.") if _is_inert_type(kind) else type(kind).__name__
        if name not in _STORAGES or not isinstance(key, str) or not isinstance(count, int):
            raise DamagedError(f"a storage of type {name[:80]}")
        return _Storage(key, _STORAGES[name], count)


def _is_inert_type(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, PickleStub)


def read_file(path: Path) -> Any:
    """What a PyTorch file holds: dictionaries, lists, numbers, texts, tensors, and `PickleStub` for objects.

    Tensors share no memory with the file. No tensor has more elements than the file holds for it.

    Raises:
        UnsafeError: the file names something that is not known.
        DamagedError: it is not complete.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                check_archive(file, path.stat().st_size)
                return _read_archive(path)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read_row(content)
    except (UnsafeError, DamagedError):
        raise
    except (Exception, RecursionError) as error:  # a damaged byte leads the unpickler anywhere
        raise DamagedError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _read_archive(path: Path) -> Any:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise DamagedError("its entries are compressed, which no PyTorch file's are")
        if sum(entry.file_size for entry in entries) > size:
            raise DamagedError("its entries claim more bytes than it has")
        names = {entry.filename for entry in entries}
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise DamagedError("it has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise DamagedError("its numbers are big-endian")
        if archive.getinfo(pickles[0]).file_size > MAX_PICKLE:
            raise DamagedError("its data.pkl is too large")

        def numbers(storage: _Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            if name not in names:
                raise DamagedError(f"storage {storage.key[:40]} is missing")
            return archive.read(name)

        content = archive.read(pickles[0])
        return _Tensors(numbers).resolve(_unpickle(content, 0)[0])


def _read_row(content: mmap.mmap) -> Any:
    """The layout before PyTorch 1.6."""
    magic, position = _unpickle(content, 0)
    if magic != _LEGACY_MAGIC:
        return _Tensors(_nothing).resolve(magic)  # a bare pickle: says what it is, and holds no tensor
    for _ in range(2):  # protocol version, and what the machine was
        _, position = _unpickle(content, position)
    found, position = _unpickle(content, position)
    keys, position = _unpickle(content, position)
    places: dict[str, tuple[int, int]] = {}
    wanted = {storage.key: storage for storage in _storages(found)}
    for key in keys:
        if key not in wanted:
            raise DamagedError(f"storage {str(key)[:40]} belongs to no tensor")
        (count,) = struct.unpack_from("<q", content, position)
        end = position + 8 + count * wanted[key].dtype.itemsize
        if count < 0 or end > len(content):
            raise DamagedError(f"storage {str(key)[:40]} ends beyond the file")
        places[key] = (position + 8, end)
        position = end

    def numbers(storage: _Storage) -> bytes:
        if storage.key not in places:
            raise DamagedError(f"storage {storage.key[:40]} is missing")
        start, end = places[storage.key]
        return content[start:end]

    return _Tensors(numbers).resolve(found)


def _nothing(storage: _Storage) -> bytes:
    raise DamagedError(f"storage {storage.key[:40]} is missing")


def _unpickle(content: bytes | mmap.mmap, start: int) -> tuple[Any, int]:
    """The object pickled at a place, and where its pickle ends."""
    end = end_of_pickle(content, start)
    return _Unpickler(content[start:end]).load(), end


def _storages(found: Any) -> list[_Storage]:
    """All storages that an object's records name."""
    seen: set[int] = set()
    stack, storages = [found], []
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, _Storage):
            storages.append(one)
        stack.extend(_inside(one))
    return storages


def _inside(one: Any) -> list[Any]:
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, list | tuple):
        return list(one)
    if isinstance(one, PickleStub):
        return [one.args, one.state, one.items, one.values]
    return []


class _Tensors:
    """Makes tensors from records, each storage once."""

    def __init__(self, numbers: Callable[[_Storage], bytes]) -> None:
        self._numbers = numbers
        self._storages: dict[str, Tensor] = {}
        self._made: dict[int, tuple[Any, Any]] = {}  # by identity: an object, kept so that it stays one, and its answer

    def resolve(self, one: Any) -> Any:
        """An object with tensors in place of their records; ordered dictionaries and sets become plain ones."""
        if id(one) not in self._made:
            made = self._resolve(one)
            self._made[id(one)], self._made[id(made)] = (one, made), (made, made)
        return self._made[id(one)][1]

    def _resolve(self, one: Any) -> Any:
        if isinstance(one, dict):
            return {key: self.resolve(value) for key, value in one.items()}
        if isinstance(one, list):
            return [self.resolve(value) for value in one]
        if isinstance(one, tuple):
            return tuple(self.resolve(value) for value in one)
        if not isinstance(one, PickleStub):
            return one
        if one.path in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self._tensor(*one.args[:4])
        if one.path == "torch._utils._rebuild_parameter":
            return self.resolve(one.args[0])
        if one.path in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict"):
            filled = dict(pair for given in one.args[:1] if isinstance(given, list) for pair in given)
            return self._resolve({**filled, **one.items})
        self._made[id(one)] = (one, one)  # first, because an object's attributes may lead back to it
        one.args, one.values = self._resolve(one.args), self._resolve(one.values)
        one.items = self._resolve(one.items)
        one.state = self.resolve(one.state)
        return one

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        axes = [size, stride]
        whole = all(isinstance(axis, tuple) and all(type(n) is int and n >= 0 for n in axis) for axis in axes)
        if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or not whole:
            raise DamagedError("a tensor of no storage, size or stride")
        flat = self._flat(storage)
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (last >= len(flat) or count > len(flat)):
            raise DamagedError(f"a tensor of shape {tuple(size)} in a storage of {len(flat)} numbers")
        return flat.as_strided(size, stride, offset) if count else flat.new_empty(size)

    def _flat(self, storage: _Storage) -> Tensor:
        if storage.key not in self._storages:
            content = self._numbers(storage)
            if len(content) != storage.count * storage.dtype.itemsize:
                raise DamagedError(f"storage {storage.key[:40]} has {len(content)} bytes for {storage.count} numbers")
            empty = torch.empty(0, dtype=storage.dtype)
            self._storages[storage.key] = (
                torch.frombuffer(bytearray(content), dtype=storage.dtype) if content else empty
            )
        flat = self._storages[storage.key]
        if flat.dtype != storage.dtype:
            raise DamagedError(f"storage {storage.key[:40]} is of two types")
        return flat
