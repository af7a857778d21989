"""Image encoder and mask decoder as OpenVINO's own files, by way of ONNX."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from samlet.data.images import RGBImage
from samlet.export import onnx_graphs
from samlet.export.config import ExportConfig
from samlet.models import Sam


def write(
    sam: Sam, folder: Path, config: ExportConfig, integer: Sam | None = None, images: Sequence[RGBImage] = ()
) -> dict[str, str]:
    """Write `encoder.xml` and `decoder.xml` with their `.bin`; see `samlet.export.graph_files.Writer`.

    Args:
        sam: the model.
        folder: an existing folder.
        config: of the export.
        integer: the model with quantized layers, for int8.
        images: not needed here.
    """
    names = onnx_graphs.write(sam, folder, config, integer, images, style="openvino")
    half = config.precision == "float16"
    return {part: _converted(folder / name, half).name for part, name in names.items()}


def _converted(path: Path, half: bool) -> Path:
    """The same graph as OpenVINO's own files; the ONNX file goes."""
    openvino: Any = importlib.import_module("openvino")
    made = path.with_suffix(".xml")
    convert: Callable[..., Any] = openvino.convert_model
    model = convert(path)
    _shorten_indices(model, openvino)
    openvino.save_model(model, made, compress_to_fp16=half)
    text = made.read_text(encoding="utf-8")
    dense = "".join(line.strip() for line in text.splitlines()).replace('" />', '"/>')  # a sixth is indentation
    made.write_text(dense, encoding="utf-8")
    path.unlink()
    return made


def _shorten_indices(model: Any, openvino: Any) -> None:
    """Store the indices of attention biases in 32 bits; ONNX knows 64 alone."""
    for operation in model.get_ops():
        if operation.get_type_name() != "GatherND":
            continue
        indices = operation.input_value(1).get_node()
        if indices.get_type_name() == "Constant":
            short = openvino.op.Constant(indices.data.astype("int32"))
            operation.input(1).replace_source_output(short.output(0))
