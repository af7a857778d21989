"""Whether a browser can run a model's graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.errors import InputError
from samlet.web.config import MOST_TENSOR, MOST_WEIGHTS

_BYTES_OF_A_FLOAT = 4


def check_weights(parameters: int) -> None:
    """Refuse a model with more weights than a page can hold.

    Raises:
        InputError: it has.
    """
    size = _BYTES_OF_A_FLOAT * parameters
    if size > MOST_WEIGHTS:
        raise InputError(
            f"the model has {size / 1e6:.0f} MB of float32 weights, too large for a browser; expected at most "
            f"{MOST_WEIGHTS / 1e6:.0f} MB, for phones end pages that take over some 300 MB. Make it smaller first: "
            "`samlet slim --teacher M --images DIR --ratio 0.8 --out small`"
        )


def check_tensors(encoder: Path, size: int) -> None:
    """Refuse an encoder that computes a larger tensor than a page can hold.

    Args:
        encoder: its ONNX file.
        size: side of its input, pixels.

    Raises:
        InputError: it does; a ViT's global attention grows with the fourth power of the side.
    """
    largest = largest_tensor(encoder, size)
    if largest > MOST_TENSOR:
        raise InputError(
            f"at {size} px the encoder computes a tensor of {largest / 2**20:.0f} MiB, too large for a browser; "
            f"expected at most {MOST_TENSOR / 2**20:.0f} MiB, the largest buffer that weak GPUs allow. Name a smaller "
            "--size, or slim a model with a TinyViT encoder, such as mobile_sam"
        )


def largest_tensor(graph: Path, size: int) -> int:
    """Bytes of the largest tensor between two layers, for one image of a side in pixels."""
    import onnx

    model: Any = onnx.load(str(graph))
    for port in model.graph.input:
        for axis, dim in enumerate(port.type.tensor_type.shape.dim):
            if not dim.dim_value:
                dim.Clear()
                dim.dim_value = size if axis > 1 else 1
    for port in model.graph.output:
        port.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    largest = 0
    for value in inferred.graph.value_info:
        count = 1
        for dim in value.type.tensor_type.shape.dim:
            count *= dim.dim_value or 1
        largest = max(largest, _BYTES_OF_A_FLOAT * count)
    return largest
