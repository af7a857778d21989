"""The decoder as segment-anything's own exporter lays it out, so that programs written for its files take ours.

Inputs `image_embeddings`, `point_coords`, `point_labels`, `mask_input`, `has_mask_input`, `orig_im_size`; outputs
`masks` at the photograph's size, `iou_predictions`, `low_res_masks`. Coordinates are pixels of the encoder's input; a
prompt without a box ends with a point of label -1, which the caller adds.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samlet.checkpoints.reading import EXPORT, read_json
from samlet.data.transforms import preprocess
from samlet.errors import InputError
from samlet.export.config import ExportConfig
from samlet.export.graphs import BOX_CORNER, DecoderGraph
from samlet.export.onnx_files import write_onnx
from samlet.export.probes import Answer, Probe
from samlet.export.usage import graph_usage
from samlet.export.verification import Figures, compare_prompts
from samlet.models import Sam, SamConfig, maps_of
from samlet.models.decoders.sam.prompt_encoder import NOT_A_POINT, PromptEncoder
from samlet.runtimes.manifest import note_usage
from samlet.runtimes.registry import RUNTIMES
from samlet.runtimes.sessions import Interface

FILE = "segment_anything.onnx"
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
_MOST_POINTS = 4096


def check(sam: Sam) -> None:
    """Raise InputError for a model that the published layout has no place for."""
    if type(sam.prompt_encoder) is not PromptEncoder or sam.config.resize != "longest_side":
        raise InputError(
            f"the decoder is {sam.config.decoder.style}'s, and segment-anything's layout has SAM's alone; expected a "
            "SAM, or the layout samlet"
        )


class PublishedDecoder(DecoderGraph):
    """Prompts of one image to masks, with the arguments of segment-anything's exported decoder."""

    def forward(  # type: ignore[override]
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode.

        Args:
            image_embeddings: (1, C, h, w) from the encoder.
            point_coords: (1, K, 2) pixels of the encoder's input, x before y.
            point_labels: (1, K) float: 1 foreground, 0 background, 2 and 3 corners of a box, -1 the filler.
            mask_input: (1, 1, 4h, 4w) logits of an earlier answer.
            has_mask_input: (1,) 1, or 0 to leave `mask_input` out of account.
            orig_im_size: (2,) float: height and width of the photograph, pixels.

        Returns:
            Logits (1, M, height, width), predicted IoU (1, M), logits (1, M, 4h, 4w).
        """
        low_res, iou, full = self.decode(
            [image_embeddings], point_coords, point_labels.long(), mask_input, has_mask_input, orig_im_size.long()
        )
        return full, iou, low_res

    def _tokens(self, points: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Sparse embeddings (1, K, C), all of which count; no filler is added."""
        encoder = self.prompt_encoder
        scale = torch.tensor([size[1], size[0]], dtype=points.dtype)
        encoded = encoder.pe_layer((points + 0.5) / scale)
        encoded = torch.where((labels >= 0)[..., None], encoded, torch.zeros_like(encoded))
        table = torch.cat([encoder.not_a_point_embed.weight, *(one.weight for one in encoder.point_embeddings)])  # type: ignore[list-item]
        kinds = labels.clamp(NOT_A_POINT, BOX_CORNER + 1) - NOT_A_POINT
        return encoded + table[kinds], torch.ones_like(labels, dtype=torch.bool)


def write(sam: Sam, folder: Path, size: int) -> Path:
    """Write the decoder for one side of the encoder's input, pixels."""
    rows = size // sam.config.encoder.stride
    channels = sam.config.encoder.out_channels
    example = [
        torch.zeros(1, channels, rows, rows),
        torch.zeros(1, 3, 2),
        torch.ones(1, 3),
        torch.zeros(1, 1, 4 * rows, 4 * rows),
        torch.zeros(1),
        torch.tensor([300.0, 451.0]),
    ]
    points = torch.export.Dim("points", max=_MOST_POINTS)
    path = folder / FILE
    write_onnx(
        PublishedDecoder(sam),
        example,
        path,
        INPUTS,
        OUTPUTS,
        {"point_coords": {1: points}, "point_labels": {1: points}},
    )
    return path


@torch.inference_mode()
def answers(sam: Sam, path: Path, asked: Sequence[Probe], size: int) -> list[Answer]:
    """What the file answers in ONNX Runtime, called as programs for the published files call it."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = []
    for question in asked:
        pixels, frame = preprocess(question.image, size, *sam.preprocessing)
        embedding = maps_of(sam.encode(pixels[None]))[0].numpy()
        clicks = [
            (np.vstack([point, [0, 0]]), [1, -1]) for point in frame.to_input(torch.from_numpy(question.points)).numpy()
        ]
        corners = frame.to_input(torch.from_numpy(question.boxes).view(-1, 2, 2)).numpy()
        masks, iou = [], []
        for coordinates, labels in [*clicks, *((box, [2, 3]) for box in corners)]:
            given = {
                "image_embeddings": embedding,
                "point_coords": np.asarray(coordinates, np.float32)[None],
                "point_labels": np.asarray(labels, np.float32)[None],
                "mask_input": np.zeros((1, 1, 4 * embedding.shape[2], 4 * embedding.shape[3]), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.asarray([frame.height, frame.width], np.float32),
            }
            full, scores, _ = session.run(list(OUTPUTS), given)
            masks.append(full[0] > sam.config.mask_threshold)
            iou.append(scores[0])
        found.append(Answer(np.stack(masks), np.stack(iou)))
    return found


def _note_usage(config: SamConfig, folder: Path, path: Path) -> None:
    """Say in `export.json` what the graph takes and gives."""
    session = RUNTIMES["onnx"].open(path, Interface((), ()), 1, "f32")
    said = read_json(folder / EXPORT)["usage"]
    graph = graph_usage(path.name, session, config)
    session.close()
    note_usage(folder, {**said, "graphs": {**said["graphs"], path.stem: graph}})


def write_and_run(
    sam: Sam, folder: Path, config: ExportConfig, asked: Sequence[Probe], expected: Sequence[Answer], figures: Figures
) -> Figures:
    """Write that decoder beside the others, run it, and put what agrees least into the figures.

    Args:
        sam: the model.
        folder: of the export, with its encoder.
        config: of the export.
        asked: photographs with prompts.
        expected: what the model answers them.
        figures: of the other graphs.
    """
    side = sam.config.check_image_size(config.image_size)
    path = write(sam, folder, side)
    _note_usage(sam.config, folder, path)
    found = compare_prompts(asked, expected, answers(sam, path, asked, side))
    least = min(figures, found, key=lambda one: one.worst)
    mean = min(figures.agreement, found.agreement)
    return replace(figures, agreement=mean, worst=least.worst, worst_prompt=least.worst_prompt)
