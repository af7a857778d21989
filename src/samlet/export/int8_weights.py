"""A graph whose weights are stored in 8 bits and computed with in float32: a quarter of the bytes, much the same masks.

Each output channel of a product has a step of its own, its largest weight over 127. A runtime makes floats of them
once, when it loads the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 1024  # values of a weight that is worth it
_WEIGHT = {"MatMul": 1, "Gemm": 1, "Conv": 1, "ConvTranspose": 1}
"""Which input of a product is its weight."""


def write_int8_weights(source: Path, target: Path) -> None:
    """Write the graph of one ONNX file with int8 weights to another."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    axes = _output_axes(graph)
    kept, made = [], []
    for entry in graph.initializer:
        values = numpy_helper.to_array(entry)
        if entry.name not in axes or values.dtype != np.float32 or values.size < _LEAST:
            kept.append(entry)
            continue
        whole, steps = to_int8(values, axes[entry.name])
        name = entry.name
        kept += [numpy_helper.from_array(whole, f"{name}_int8"), numpy_helper.from_array(steps, f"{name}_steps")]
        made += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_float", f"{name}_steps"], [name]),
        ]
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.save_model(model, str(target))


def to_int8(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers from -127 to 127 and steps that broadcast with them, one for each index along an axis."""
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    steps = np.abs(values).max(axis=others, keepdims=True) / 127
    steps = np.where(steps > 0, steps, 1).astype(np.float32)
    return np.rint(values / steps).astype(np.int8), steps


def _output_axes(graph: Any) -> dict[str, int]:
    """Of each value that products use as their weight, and nothing else uses, the axis of the output channels."""
    found: dict[str, set[int | None]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            axis = _axis(node) if _WEIGHT.get(node.op_type) == position else None
            found.setdefault(name, set()).add(axis)
    return {name: axis for name, axes in found.items() if len(axes) == 1 and (axis := next(iter(axes))) is not None}


def _axis(node: Any) -> int:
    """Of the weight of a product; -1 for the last."""
    if node.op_type == "MatMul":
        return -1
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1
