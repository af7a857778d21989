"""Opening and running ONNX graphs whose interface is known, with errors that say what to mend."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samlet.errors import CheckpointError, InputError

_CHUNK = 1 << 20  # bytes
_SHOWN = 8  # inputs or outputs named in a message

Pattern = Sequence[int | None]
"""A shape in which None stands for any size."""


def check_threads(threads: int | None) -> None:
    """Raise InputError for a number of threads below 1; None means onnxruntime's choice."""
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1")


def open_session(path: Path, threads: int | None, name: str, remedy: str) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        path: a graph in ONNX's or ONNX Runtime's own format (`.ort`).
        threads: of the network; onnxruntime's choice if None.
        name: what should be there, for messages.
        remedy: how to get it, for messages.

    Raises:
        CheckpointError: no file, or no graph.
        InputError: onnxruntime is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; expected {name} in ONNX's format: {remedy}")
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            f"{name} runs on onnxruntime, which is not installed; run: pip install 'samlet[onnx]'"
        ) from error
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = threads or 0
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        raise CheckpointError(f"{path} is damaged or no ONNX file: {_line(error)}; {remedy}") from error


def run_session(
    session: Any, outputs: Sequence[str], inputs: Mapping[str, NDArray], path: Path, remedy: str
) -> list[NDArray]:
    """Outputs of a graph by name; raises CheckpointError where it cannot be run."""
    try:
        return session.run(list(outputs), dict(inputs))
    except Exception as error:  # onnxruntime's errors share no other base
        raise CheckpointError(f"{path} cannot be run: {_line(error)}; {remedy}") from error


def fits(shape: Sequence[Any], pattern: Pattern) -> bool:
    """Whether a shape, in which anything but a number is open, can be that of the pattern."""
    pairs = zip(shape, pattern, strict=False)
    return len(shape) == len(pattern) and all(a == b or b is None or not isinstance(a, int) for a, b in pairs)


def shape_text(shape: Sequence[Any]) -> str:
    """A shape or pattern for messages."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def check_interface(
    entries: Sequence[Any], wanted: Mapping[str, Pattern], kind: str, path: Path, remedy: str, more: bool = False
) -> None:
    """Check names, shapes and float type of a graph's inputs or outputs.

    Args:
        entries: `get_inputs()` or `get_outputs()` of a session.
        wanted: patterns by name.
        kind: `inputs` or `outputs`, for messages.
        path: of the graph, for messages.
        remedy: how to get the right one, for messages.
        more: others may be there too.

    Raises:
        CheckpointError: they differ.
    """
    found = {entry.name: entry for entry in entries}
    named = wanted.keys() <= found.keys() if more else wanted.keys() == found.keys()
    if not named or not all(
        found[name].type == "tensor(float)" and fits(found[name].shape, pattern) for name, pattern in wanted.items()
    ):
        has = ", ".join(f"{entry.name} {entry.type} {shape_text(entry.shape)}" for entry in entries[:_SHOWN])
        expected = ", ".join(f"{name} {shape_text(pattern)}" for name, pattern in wanted.items())
        raise CheckpointError(f"{path} has the {kind} {has or 'none'}; expected float {expected}; {remedy}")


def digest(paths: Iterable[Path], *settings: Any) -> str:
    """SHA-256 over the contents of files and over settings that change their answers."""
    found = hashlib.sha256(repr(settings).encode() if settings else b"")
    for path in paths:
        part = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                part.update(chunk)
        found.update(part.digest())
    return found.hexdigest()


def float32(values: NDArray) -> NDArray[np.float32]:
    """An array as contiguous float32, copied only where it must be."""
    return np.ascontiguousarray(values, np.float32)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
