"""The graphs of a model in the files of each runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.data.images import RGBImage
from samlet.errors import InputError
from samlet.export.config import ExportConfig
from samlet.export.float16 import in_half
from samlet.export.graphs import (
    DECODER_OUTPUTS,
    ENCODER_INPUTS,
    PROMPT_INPUTS,
    EncoderGraph,
    decoder_graph,
)
from samlet.export.int8_layers import Style, with_integers
from samlet.export.onnx_files import write_onnx
from samlet.models import Sam
from samlet.runtimes.graphs import embedding_names
from samlet.runtimes.manifest import SHARED_WEIGHTS
from samlet.runtimes.shared_weights import write_shared_weights

_MOST_PATCHES = 256  # on a side of an image
_MOST_POINTS = 4096
_STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def fixed_size(sam: Sam, config: ExportConfig) -> int | None:
    """The one side of the input that the graphs will take; None for any.

    A ViT and a Hiera resample their position tables to the size of the image, in operations that a graph cannot hold
    open.
    """
    own = config.to == "executorch" or sam.config.encoder.fixed_size_graph
    return sam.config.check_image_size(config.image_size) if own or config.image_size else None


def write_graphs(
    sam: Sam, folder: Path, config: ExportConfig, integer: Sam | None = None, images: Sequence[RGBImage] = ()
) -> dict[str, str]:
    """Write encoder and decoder.

    Args:
        sam: the model.
        folder: an existing folder.
        config: of the export.
        integer: the model with quantized layers, for `int8`.
        images: photographs, which ExecuTorch's int8 asks for.

    Returns:
        Names of the files, by part.
    """
    if config.to == "executorch":
        from samlet.export.executorch_programs import write_pte

        return write_pte(sam, folder, config, images)
    style: Style = "openvino" if config.to == "openvino" else "onnxruntime"
    encoder_graph = EncoderGraph(sam if integer is None else integer)
    prompt_graph = decoder_graph(sam if integer is None else integer, config.full_masks)
    encoder: nn.Module = encoder_graph
    decoder: nn.Module = prompt_graph
    if integer is not None:
        # The decoder's products gain little from integers and lose much: it stores them and computes in float.
        encoder, decoder = with_integers(encoder, style), with_integers(decoder, style, products=False)
    if config.precision == "float16" and config.to == "onnx":
        encoder, decoder = in_half(encoder_graph), in_half(prompt_graph)
    size = fixed_size(sam, config)
    names = {}
    for part, module, write in (("encoder", encoder, _encoder), ("decoder", decoder, _decoder)):
        path = folder / f"{part}.onnx"
        write(module, path, sam, size, config.full_masks)
        if config.to == "openvino":
            path = _to_openvino(path, half=config.precision == "float16")
        names[part] = path.name
    if sam.config.can_share_decoder:
        dtype = _STORED.get(config.precision, torch.float32)
        write_shared_weights(sam if integer is None else integer, folder / SHARED_WEIGHTS, dtype)
    return names


def _encoder(module: nn.Module, path: Path, sam: Sam, size: int | None, _: bool) -> None:
    dim, stride = torch.export.Dim, sam.config.encoder.stride
    axes: dict[int, Any] = {0: dim("images")}
    if size is None:
        axes |= {
            2: stride * dim("rows", min=2, max=_MOST_PATCHES),
            3: stride * dim("columns", min=2, max=_MOST_PATCHES),
        }
    height, width = (28 * stride, 20 * stride) if size is None else (size, size)
    write_onnx(
        module, [torch.zeros(2, 3, height, width)], path, ENCODER_INPUTS, embedding_names(sam.config), {"image": axes}
    )


def _decoder(module: nn.Module, path: Path, sam: Sam, size: int | None, full_masks: bool) -> None:
    stride = sam.config.encoder.stride
    rows, columns = (24, 28) if size is None else (size // stride, size // stride)
    example = decoder_example(sam, (rows, columns), prompts=3, points=2)
    dim = torch.export.Dim
    prompts, points = dim("prompts"), dim("points", max=_MOST_POINTS)
    dynamic: dict[str, dict[int, Any]] = {"points": {0: prompts, 1: points}, "labels": {0: prompts, 1: points}}
    if size is None:
        h, w = dim("rows", min=2, max=_MOST_PATCHES), dim("columns", min=2, max=_MOST_PATCHES)
        dynamic["mask"] = {2: 4 * h, 3: 4 * w}
        dynamic |= {
            name: {2: (1 << level) * h, 3: (1 << level) * w} for level, name in enumerate(embedding_names(sam.config))
        }
    inputs, outputs = [*embedding_names(sam.config), *PROMPT_INPUTS], [*DECODER_OUTPUTS]
    if full_masks:
        example.append(torch.tensor([300, 400]))
        inputs.append("original_size")
        outputs.append("masks")
    write_onnx(module, example, path, inputs, outputs, dynamic)


def decoder_example(sam: Sam, grid: tuple[int, int], prompts: int, points: int) -> list[Tensor]:
    """Inputs of the decoder's graph, all zeros but the labels."""
    rows, columns = grid
    stride = sam.config.encoder.stride
    return [
        *(torch.zeros(1, *shape) for shape in sam.config.encoder.map_shapes(stride * rows, stride * columns)),
        torch.zeros(prompts, points, 2),
        torch.ones(prompts, points, dtype=torch.long),
        torch.zeros(1, 1, 4 * rows, 4 * columns),
        torch.zeros(1),
    ]


def _to_openvino(path: Path, half: bool) -> Path:
    """The same graph as OpenVINO's own files; the ONNX file goes."""
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError as error:
        raise InputError(
            "writing for OpenVINO needs openvino, which is not installed; run: pip install 'samlet[export]'"
        ) from error
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
