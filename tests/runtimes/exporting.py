"""Small models as exported folders: real graphs with the interface that every exporter must give them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.evaluation.costs import cost
from samlet.models import DecoderConfig, RepViTConfig, Sam, SamConfig
from samlet.models.modes import graph_operations
from tests.conftest import randomise

CHANNELS, SIDE = 32, 128
FIXED_PROMPTS, FIXED_POINTS = 3, 4
"""What the decoder of fixed shapes takes."""
FIXED = {"prompt_batch": FIXED_PROMPTS, "points": FIXED_POINTS, "image_sizes": [SIDE]}
"""What its `export.json` says of that."""


def make_sam() -> Sam:
    """A small convolutional SAM, whose graph takes any multiple of 16."""
    encoder = RepViTConfig(
        image_size=SIDE,
        stem_dim=8,
        embed_dims=(8, 8, 16, 16),
        mixer_dims=((16,), (16,), (24,), (24,)),
        squeeze_dims=((8,), (0,), (0,), (0,)),
        out_channels=CHANNELS,
    )
    decoder = DecoderConfig(depth=1, mlp_dim=48, iou_head_hidden_dim=24, mask_in_channels=8)
    torch.manual_seed(0)
    sam = Sam(SamConfig(encoder=encoder, decoder=decoder))
    randomise(sam)
    return sam.eval().requires_grad_(False)


class Decoder(nn.Module):
    """The decoder's contract in torch: labelled corners for boxes, SAM's filler, a mask that may be switched off."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.prompts, self.masks = sam.prompt_encoder, sam.mask_decoder

    def forward(self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor) -> Any:
        height, width = embedding.shape[2:]
        prompts = self.prompts
        fillers = (labels == 2).sum(1, keepdim=True).eq(0) & torch.ones_like(labels).sum(1, keepdim=True).gt(0)
        labels = torch.cat([labels, torch.where(fillers, -1, -2)], dim=1)
        size = 16.0 * torch.stack([torch.as_tensor(width), torch.as_tensor(height)])
        points = (F.pad(points, (0, 0, 0, 1)) + 0.5) / size
        table = torch.cat([prompts.not_a_point_embed.weight, *(one.weight for one in prompts.point_embeddings)])
        tokens = prompts.pe_layer(points) * (labels >= 0).float()[..., None] + table[labels.clamp(min=-1) + 1]
        none = prompts.no_mask_embed.weight.view(1, -1, 1, 1)
        dense = torch.where(has_mask.view(1, 1, 1, 1) > 0, prompts.mask_downscaling(mask), none)
        last = torch.ones_like(dense[:, 0, 0, 0], dtype=torch.long).sum() - 1
        dense = dense[torch.minimum(torch.arange(points.shape[0]), last)]  # one for all prompts, or one each
        out = self.masks(embedding, prompts.pe_layer.grid(height, width), tokens, dense, labels != -2)
        return out.low_res, out.iou


def write_onnx(
    module: nn.Module,
    path: Path,
    example: dict[str, Tensor],
    axes: dict[str, dict[int, str]],
    outputs: dict[str, list[int | str]],
) -> None:
    """One graph, by the exporter that follows a call of the module: it takes a second, the other one half a minute.

    Args:
        module: what is written.
        path: of the file.
        example: inputs by name.
        axes: the open axes of each input, by name.
        outputs: their shapes by name, with names for open axes.
    """

    def unflatten(tensor: Tensor, dim: int, sizes: Any) -> Tensor:  # the exporter takes torch's for a fixed size
        dim %= tensor.ndim
        return tensor.reshape(*tensor.shape[:dim], *sizes, *tensor.shape[dim + 1 :])

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), graph_operations():
        patch.setattr(Tensor, "unflatten", unflatten)
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval().requires_grad_(False),
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    model = onnx.load(path)
    for value in model.graph.output:
        elements = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, elements, outputs[value.name]))
    onnx.save(model, path)


def write_encoder(sam: Sam, path: Path, side: int = SIDE) -> None:
    """Open to any number of images, and to any size of them where the encoder is convolutional."""
    axes = {"image": {0: "images", 2: "rows", 3: "columns"}}
    outputs = {"embedding": ["images", sam.config.encoder.out_channels, "grid_rows", "grid_columns"]}
    write_onnx(sam.image_encoder, path, {"image": torch.zeros(2, 3, side, side)}, axes, outputs)


def write_decoder(sam: Sam, path: Path, side: int = SIDE) -> None:
    """Open to any number of prompts on images of any size."""
    grid = side // 16
    example = {
        "embedding": torch.zeros(1, sam.config.encoder.out_channels, grid, grid),
        "points": torch.zeros(4, 3, 2),
        "labels": torch.ones(4, 3, dtype=torch.long),
        "mask": torch.zeros(2, 1, 4 * grid, 4 * grid),
        "has_mask": torch.zeros(1),
    }
    axes = {
        "embedding": {2: "rows", 3: "columns"},
        "points": {0: "prompts", 1: "clicks"},
        "labels": {0: "prompts", 1: "clicks"},
        "mask": {0: "masks", 2: "rows4", 3: "columns4"},
    }
    outputs = {"low_res": ["prompts", 4, "rows4", "columns4"], "iou": ["prompts", 4]}
    write_onnx(Decoder(sam), path, example, axes, outputs)


def fix_shapes(decoder: Path, path: Path, masks: int) -> None:
    """The same decoder for `FIXED_PROMPTS` prompts of `FIXED_POINTS` clicks and so many masks alone."""
    model = onnx.load(decoder)
    prompts, points, grid = FIXED_PROMPTS, FIXED_POINTS, SIDE // 16
    inputs = {
        "embedding": [1, CHANNELS, grid, grid],
        "points": [prompts, points, 2],
        "labels": [prompts, points],
        "mask": [masks, 1, 4 * grid, 4 * grid],
        "has_mask": [1],
    }
    outputs = {"low_res": [prompts, 4, 4 * grid, 4 * grid], "iou": [prompts, 4]}
    for values, shapes in ((model.graph.input, inputs), (model.graph.output, outputs)):
        for value in values:
            for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
                dim.dim_value = size
    del model.graph.value_info[:]
    onnx.save(model, path)


def describe(sam: Sam, runtime: str, **changes: Any) -> dict[str, Any]:
    """The content of `export.json`."""
    suffix = {"onnx": "onnx", "openvino": "xml", "executorch": "pte"}[runtime]
    found = cost(sam, measure=False)
    macs = ("macs_modules", "macs_total", "macs_computed")
    return {
        "format": "samlet-export",
        "version": 1,
        "target": runtime,
        "precision": "float32",
        "model": sam.config.to_dict(),
        "files": {"encoder": f"encoder.{suffix}", "decoder": f"decoder.{suffix}"},
        "image_sizes": None,
        "prompt_batch": None,
        "points": None,
        "parameters": {"encoder": found.encoder.parameters, "decoder": found.decoder.parameters},
        "macs": {
            part: {name: dataclasses.asdict(getattr(found, part))[name] for name in macs}
            for part in ("encoder", "decoder")
        },
        "gate": {},
        "forced": False,
        "provenance": {},
        **changes,
    }


def write_description(folder: Path, content: dict[str, Any]) -> Path:
    """`export.json` in a folder, which is returned."""
    (folder / "export.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
