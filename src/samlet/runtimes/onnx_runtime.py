"""ONNX graphs, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samlet.runtimes.sessions import Arrays, Interface, Port, Runtime, cannot_run, damaged, import_runtime

_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(float16)": "float16"}


class OnnxSession:
    """A `samlet.runtimes.sessions.Session` of ONNX Runtime.

    Args:
        path: an `.onnx` file.
        interface: what the graph gives; only these outputs are computed.
        threads: of the CPU.
        precision: of products, which the graph itself says.

    Raises:
        CheckpointError: a damaged file.
        InputError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, interface: Interface, threads: int, precision: str) -> None:  # noqa: ARG002 - as `Runtime.open`
        runtime = import_runtime("onnxruntime", "ONNX Runtime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised
        options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no other base
            raise damaged(path, "ONNX file", error) from error
        self._path, self._wanted = path, [port.name for port in interface.outputs]
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = _ports(self._session.get_outputs())

    def run(self, inputs: Arrays) -> Arrays:
        """See `Session.run`."""
        try:
            found = self._session.run(self._wanted, inputs)
        except Exception as error:  # onnxruntime's errors share no other base
            raise cannot_run(self._path, error) from error
        return dict(zip(self._wanted, found, strict=True))

    def close(self) -> None:
        """See `Session.close`."""
        self._session = None


def _ports(entries: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(
            entry.name,
            tuple(size if isinstance(size, int) else None for size in entry.shape),
            _TYPES.get(entry.type, entry.type),
        )
        for entry in entries
    )


RUNTIME = Runtime(target="onnx", suffix=".onnx", spare_suffix=".data", open=OnnxSession)
