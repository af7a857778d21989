"""Weights of an ONNX graph stored small; what is computed with them stays float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from samlet.checkpoints.int8 import round_channels

Stored = Literal["float32", "float16", "int8"]
BYTES: dict[Stored, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Of a weight."""

_LEAST = 1024  # values; smaller tensors are biases, norms and tokens, and stay as they are
_OUTPUTS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
"""Axis of the output channels in a weight, by what takes it; Gemm's depends on an attribute."""


def store_weights(path: Path, stored: Stored) -> None:
    """Rewrite an ONNX file so that its large weights take fewer bytes.

    Int8 has one scale for each output channel and no zero point, and a DequantizeLinear that leads back to float32;
    float16 has a Cast. Runtimes compute either once, when they load the file.

    Args:
        path: an ONNX file with float32 weights, which is replaced.
        stored: how; `float32` leaves the file alone.
    """
    if stored == "float32":
        return
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    axes = _weights(graph)
    made, kept = [], []
    for entry in graph.initializer:
        values = numpy_helper.to_array(entry)
        axis = axes.get(entry.name)
        if axis is None or values.dtype != np.float32 or values.size < _LEAST:
            kept.append(entry)
            continue
        small = f"{entry.name}.stored"
        if stored == "float16":
            kept.append(numpy_helper.from_array(values.astype(np.float16), small))
            made.append(onnx.helper.make_node("Cast", [small], [entry.name], to=onnx.TensorProto.FLOAT))
        else:
            axis %= values.ndim
            rounded, scale = round_channels(torch.from_numpy(values.swapaxes(0, axis).copy()))
            codes = np.ascontiguousarray(rounded.numpy().swapaxes(0, axis))
            kept += [
                numpy_helper.from_array(codes, small),
                numpy_helper.from_array(scale.numpy(), f"{entry.name}.scale"),
            ]
            inputs = [small, f"{entry.name}.scale"]
            made.append(onnx.helper.make_node("DequantizeLinear", inputs, [entry.name], axis=axis))
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.save_model(model, str(path))


def _weights(graph: Any) -> dict[str, int]:
    """Axis of the output channels of every tensor that nothing but products takes, as their second factor."""
    found: dict[str, set[int | None]] = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            axis = _OUTPUTS.get(node.op_type)
            if node.op_type == "Gemm":
                axis = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
            found.setdefault(name, set()).add(axis if i == 1 else None)
    return {name: axis for name, axes in found.items() if len(axes) == 1 for axis in axes if axis is not None}
