"""A model for ExecuTorch: two programs of fixed sizes, with XNNPACK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from samlet.data.images import RGBImage
from samlet.data.transforms import preprocess
from samlet.export.config import ExportConfig
from samlet.export.executorch import to_executorch
from samlet.export.graphs import EncoderGraph, decoder_graph
from samlet.models import Embedding, Sam, maps_of
from samlet.models.decoders.sam.prompt_encoder import PADDING


def write(
    sam: Sam,
    folder: Path,
    config: ExportConfig,
    integer: Sam | None = None,  # noqa: ARG001 - as `Writer`
    images: Sequence[RGBImage] = (),
) -> dict[str, str]:
    """Write `encoder.pte` and `decoder.pte`; see `samlet.export.graph_files.Writer`. The decoder is float32 always.

    Args:
        sam: the model, float32.
        folder: an existing folder.
        config: of the export: image size, prompts at once, points a prompt, precision.
        integer: none; ExecuTorch quantizes by its own rules.
        images: photographs that decide which layers go to int8.
    """
    side = sam.check_image_size(config.image_size)
    pixels = [preprocess(image, side, *sam.preprocessing)[0][None] for image in images]
    with torch.inference_mode():
        asked = _prompts(sam.encode(pixels[0]), side, config)
    int8 = config.precision == "int8"
    encoder, decoder = EncoderGraph(sam), decoder_graph(sam)
    to_executorch(encoder, (pixels[0],), folder / "encoder.pte", [(image,) for image in pixels] if int8 else None)
    # XNNPACK 1.5's linear layers with inputs rounded on the way answer wrongly there, or bring the process down.
    to_executorch(decoder, asked, folder / "decoder.pte")
    return {"encoder": "encoder.pte", "decoder": "decoder.pte"}


def _prompts(embedding: Embedding, side: int, config: ExportConfig) -> tuple[Tensor, ...]:
    """Inputs of the decoder's program: one click a prompt along the diagonal, the other points are padding."""
    places = (torch.arange(config.prompts) + 0.5) / config.prompts * side
    points = torch.zeros(config.prompts, config.points, 2)
    points[:, 0] = places[:, None]
    labels = torch.full((config.prompts, config.points), PADDING)
    labels[:, 0] = 1
    mask = torch.zeros(1, 1, 4 * embedding.shape[2], 4 * embedding.shape[3])
    return *(m.clone() for m in maps_of(embedding)), points, labels, mask, torch.zeros(1)
