"""Writing graphs as ONNX files: dynamic where the model allows it, small, and checked.

No other optimiser runs on them: `onnxslim` and ONNX Runtime's own gain a hundredth of the time at most, and make most
files larger (`benchmarks/small_graphs.py`; docs/exporting.md has the figures).
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.errors import InputError, SamletError
from samlet.models.modes import graph_operations

_OPSET = 20
_NEEDED = ("onnx", "onnxscript")


def write_onnx(
    module: nn.Module,
    example: Sequence[Tensor],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, Any]],
) -> None:
    """Write one graph.

    Args:
        module: in evaluation mode, without gradients; encoders then take their whole path, not strips.
        example: inputs; sizes that are to stay open differ from 1 in them.
        path: of the file.
        inputs: names of the graph's inputs.
        outputs: of its outputs.
        dynamic: for each input its open axes, each with a `torch.export.Dim`.

    Raises:
        InputError: a package that writing needs is not installed.
        SamletError: the graph cannot be written.
    """
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"writing ONNX needs {name}, which is not installed; run: pip install 'samlet[export]'"
            ) from error
    shapes = tuple(dict(dynamic.get(name, {})) or None for name in inputs)
    module.eval().requires_grad_(False)
    try:
        with _quiet(), graph_operations(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(example),
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # the exporter's errors share no other base
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
        raise SamletError(f"{path.name} cannot be written as ONNX: {reason}") from error
    assert program is not None
    save_small(program.model_proto, path)


def save_small(model: Any, path: Path) -> None:
    """Write an ONNX model without its history, equal constants once, indices in 32 bits."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    keep: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    unique = []
    for entry in graph.initializer:
        key = (entry.data_type, tuple(entry.dims), numpy_helper.to_array(entry).tobytes())
        if key in keep:
            renamed[entry.name] = keep[key]
        else:
            keep[key] = entry.name
            unique.append(entry)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        del node.metadata_props[:]
        node.doc_string = ""
    indices = _only_indices(graph)
    del graph.initializer[:]
    for entry in unique:
        values = numpy_helper.to_array(entry)
        if entry.name in indices and values.dtype == "int64":
            entry = numpy_helper.from_array(values.astype("int32"), entry.name)
        graph.initializer.append(entry)
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.save_model(model, str(path))


def _only_indices(graph: Any) -> set[str]:
    """Names of values that nothing but a Gather uses, as indices."""
    used: dict[str, set[bool]] = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            used.setdefault(name, set()).add(node.op_type == "Gather" and i == 1)
    return {name for name, kinds in used.items() if kinds == {True}}


class _quiet(redirect_stdout):  # noqa: N801
    """The exporter's talk goes nowhere."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self._stderr = redirect_stderr(io.StringIO())
        self._warnings = warnings.catch_warnings()
        self._level = logging.root.manager.disable

    def __enter__(self) -> Any:
        self._stderr.__enter__()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        logging.disable(self._level)
        self._warnings.__exit__(*error)
        self._stderr.__exit__(*error)
