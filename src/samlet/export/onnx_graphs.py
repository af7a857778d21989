"""Image encoder and mask decoder as ONNX graphs, for ONNX Runtime and for what reads ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.data.images import RGBImage
from samlet.export.config import ExportConfig
from samlet.export.fixed_size import fixed_size
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


def write(
    sam: Sam,
    folder: Path,
    config: ExportConfig,
    integer: Sam | None = None,
    images: Sequence[RGBImage] = (),  # noqa: ARG001 - as `Writer`
    style: Style = "onnxruntime",
) -> dict[str, str]:
    """Write `encoder.onnx` and `decoder.onnx`; see `samlet.export.graph_files.Writer`.

    Args:
        sam: the model.
        folder: an existing folder.
        config: of the export.
        integer: the model with quantized layers, for int8.
        images: not needed here.
        style: how integers stand in the graphs.
    """
    encoder_graph = EncoderGraph(sam if integer is None else integer)
    prompt_graph = decoder_graph(sam if integer is None else integer, config.full_masks)
    encoder: nn.Module = encoder_graph
    decoder: nn.Module = prompt_graph
    if integer is not None:
        # The decoder's products gain little from integers and lose much: it stores them and computes in float.
        encoder, decoder = with_integers(encoder, style), with_integers(decoder, style, products=False)
    if config.precision == "float16" and style == "onnxruntime":
        encoder, decoder = in_half(encoder_graph), in_half(prompt_graph)
    size = fixed_size(sam, config)
    names = {}
    for part, module, write_part in (("encoder", encoder, _encoder), ("decoder", decoder, _decoder)):
        path = folder / f"{part}.onnx"
        write_part(module, path, sam, size, config.full_masks)
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
