"""ExecuTorch programs: graphs of fixed shapes, whose inputs and outputs have places instead of names."""

from __future__ import annotations

import contextlib
import importlib
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samlet.runtimes.sessions import Arrays, Interface, Port, Runtime, cannot_run, damaged, import_runtime

_METHOD = "forward"
_POOL = "executorch.extension.pybindings.portable_lib"
_TYPES = {4: "int64", 6: "float32", 5: "float16", 15: "bfloat16"}  # torch's numbers of its types

_OPEN: weakref.WeakSet[ExecutorchSession] = weakref.WeakSet()


class ExecutorchSession:
    """A `samlet.runtimes.sessions.Session` of ExecuTorch.

    Args:
        path: a `.pte` file with a method `forward`.
        interface: names of inputs and outputs, in the order of their places.
        threads: of the CPU, for all programs of this process: the first one's count as long as any is open, for each
            keeps the pool of threads that was there when it was opened.
        precision: of products, which the program itself says.

    Raises:
        CheckpointError: a damaged file.
        InputError: executorch is not installed.
    """

    def __init__(self, path: Path, interface: Interface, threads: int, precision: str) -> None:  # noqa: ARG002 - as `Runtime.open`
        runtime = import_runtime("executorch.runtime", "ExecuTorch", "executorch")
        if not _OPEN:
            with contextlib.suppress(ImportError, AttributeError):  # not every build has threads
                importlib.import_module(_POOL)._unsafe_reset_threadpool(threads)  # unsafe while a program is loaded
        try:
            self._program = runtime.Runtime.get().load_program(path)
            self._method = self._program.load_method(_METHOD)
            about = self._method.metadata
            self.inputs = _ports(interface.inputs, about.num_inputs(), about.input_tensor_meta)
            self.outputs = _ports(interface.outputs, about.num_outputs(), about.output_tensor_meta)
        except Exception as error:  # executorch raises RuntimeError, KeyError and others
            raise damaged(path, "ExecuTorch program", error) from error
        self._path = path
        _OPEN.add(self)

    def run(self, inputs: Arrays) -> Arrays:
        """See `Session.run`."""
        given = [torch.from_numpy(np.ascontiguousarray(inputs[port.name])) for port in self.inputs]
        try:
            found = self._method.execute(given)
        except Exception as error:  # executorch raises RuntimeError and others
            raise cannot_run(self._path, error) from error
        return {port.name: values.numpy() for port, values in zip(self.outputs, found, strict=True)}

    def close(self) -> None:
        """See `Session.close`."""
        _OPEN.discard(self)
        self._method = self._program = None


def _ports(names: Sequence[Port], count: int, about: Callable[[int], Any]) -> tuple[Port, ...]:
    """What stands in each place; places beyond the names that are known are called by their numbers."""
    found = []
    for place in range(count):
        name = names[place].name if place < len(names) else str(place)
        tensor = about(place)
        kind = _TYPES.get(int(tensor.dtype()), str(tensor.dtype()))
        found.append(Port(name, tuple(int(size) for size in tensor.sizes()), kind))
    return tuple(found)


RUNTIME = Runtime(target="executorch", suffix=".pte", open=ExecutorchSession)
