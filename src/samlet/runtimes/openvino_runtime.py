"""OpenVINO graphs on the CPU.

A graph compiled for one shape runs faster than one that is open to all, so graphs are compiled for every image size,
and the last few are kept; only the numbers of prompts and of their points stay open.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from samlet.runtimes.sessions import Arrays, Interface, Port, Runtime, cannot_run, damaged, import_runtime

_KEPT = 2  # compiled graphs; each holds its own weights
_TYPES = {"f32": "float32", "i64": "int64", "f16": "float16"}


def has_bf16(core: Any = None) -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU; elsewhere it takes float32 for it without a word.

    Args:
        core: an `openvino.Core`; a new one if None.
    """
    core = core or import_runtime("openvino", "OpenVINO", "openvino").Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """A `samlet.runtimes.sessions.Session` of OpenVINO.

    Args:
        path: an `.xml` file, its `.bin` beside it.
        interface: what the graph gives, and which sizes stay open.
        threads: of the CPU.
        precision: `f32` or `bf16`, in which the products are computed; `f32` where the CPU has no bfloat16.

    Raises:
        CheckpointError: a damaged file.
        InputError: openvino is not installed.
    """

    def __init__(self, path: Path, interface: Interface, threads: int, precision: str) -> None:
        openvino = import_runtime("openvino", "OpenVINO", "openvino")
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(str(path))
            self.inputs, self.outputs = _ports(self._model.inputs), _ports(self._model.outputs)
        except Exception as error:  # openvino raises RuntimeError and others
            raise damaged(path, "OpenVINO graph", error) from error
        self._path, self._wanted = path, [port.name for port in interface.outputs]
        self._varying = interface.varying
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision if has_bf16(self._core) else "f32",
            "ENABLE_CPU_PINNING": False,  # several processes would sit on the same cores
        }
        self._compiled: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()

    def run(self, inputs: Arrays) -> Arrays:
        """See `Session.run`."""
        try:
            compiled = self._for(inputs)
            found = compiled(inputs)
            return {name: np.asarray(found[compiled.output(name)]) for name in self._wanted}
        except Exception as error:  # openvino raises RuntimeError and others
            raise cannot_run(self._path, error) from error

    def close(self) -> None:
        """See `Session.close`."""
        self._compiled.clear()

    def _for(self, inputs: Arrays) -> Any:
        """The graph compiled for the image size of these inputs."""
        shapes = {port.name: self._fixed(port, inputs[port.name].shape) for port in self.inputs}
        key = tuple(shapes.values())
        if key not in self._compiled:
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._compiled[key] = self._core.compile_model(model, "CPU", self._settings)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def _fixed(self, port: Port, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape to compile for, -1 where it stays open: only where the graph is open, too."""
        varying = self._varying.get(port.name, ())
        sizes = enumerate(zip(port.shape, shape, strict=True))
        return tuple(
            (-1 if axis in varying else size) if declared is None else declared for axis, (declared, size) in sizes
        )


def _ports(entries: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(
            entry.get_any_name(),
            tuple(size.get_length() if size.is_static else None for size in entry.get_partial_shape()),
            _TYPES.get(kind := entry.get_element_type().get_type_name(), kind),
        )
        for entry in entries
    )


RUNTIME = Runtime(target="openvino", suffix=".xml", weights_suffix=".bin", open=OpenVinoSession)
