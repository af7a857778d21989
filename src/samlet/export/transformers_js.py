"""The repository layout that transformers.js loads as a `SamModel` or a `Sam2Model`, in node and in browsers.

`config.json`, `preprocessor_config.json`, and under `onnx/` the pair `vision_encoder` and `prompt_encoder_mask_decoder`
in float32, in float16 (`_fp16`) and with weights of 8 bits (`_quantized`, what WebAssembly takes by default). The
program never looks inside the encoder, so every encoder of samlet's goes, at any widths.

Shape legend: P prompts, K points a prompt, Q boxes, C channels, h and w cells of the embedding.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.checkpoints.statistics import PREPROCESSOR, preprocessor
from samlet.data.transforms import preprocess
from samlet.errors import InputError
from samlet.export.bundles import session
from samlet.export.float16 import in_half
from samlet.export.graphs import BOX_CORNER, DecoderGraph, EncoderGraph
from samlet.export.onnx_files import write_onnx
from samlet.export.probes import Probe
from samlet.export.stored_weights import store_weights
from samlet.io.writing import write_json
from samlet.models import Sam
from samlet.models.decoders.sam.prompt_encoder import PADDING
from samlet.models.quantized import is_quantized

ENCODER, DECODER = "vision_encoder", "prompt_encoder_mask_decoder"
FOLDER = "onnx"
SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_quantized"}
"""How the files of each precision end."""
_MOST_POINTS = 4096


def is_fine(sam: Sam) -> bool:
    """Whether it goes as a `Sam2Model`."""
    return bool(sam.config.encoder.fine_channels)


def check(sam: Sam, side: int) -> None:
    """Raise InputError for a model that the layout has no place for."""
    sam.config.check_image_size(side)
    if is_quantized(sam):
        raise InputError("the model is quantized, and this target rounds weights by itself; export the float model")
    DecoderGraph(sam)
    if not is_fine(sam) and sam.config.resize != "longest_side":
        raise InputError(
            f"the model takes photographs by {sam.config.resize}, and transformers.js pads those of a SamModel; "
            "expected longest_side. Export it to onnx"
        )


class VisionEncoder(EncoderGraph):
    """(N, 3, H, W) normalised RGB to what `get_image_embeddings` answers.

    Of a SAM the embedding (N, C, h, w) and its positions (N, C, h, w); of a SAM 2 the maps, the finest first.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam)
        self.positions = None if is_fine(sam) else sam.prompt_encoder.pe_layer

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        maps = super().forward(image)
        if self.positions is None:
            return maps[::-1]
        (embedding,) = maps
        height, width = embedding.shape[2:]
        return embedding, self.positions.grid(height, width).float().expand(embedding.shape[0], -1, -1, -1)


class PromptDecoder(DecoderGraph):
    """Prompts on one image to the three masks of each and their predicted IoU, as `SamModel` asks.

    Boxes are two points of labels 2 and 3. Label -10 is padding that counts for nothing.
    """

    def forward(  # type: ignore[override]
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        input_points: Tensor,
        input_labels: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            image_embeddings: (1, C, h, w).
            image_positional_embeddings: (1, C, h, w).
            input_points: (1, P, K, 2) pixels of the encoder's input, x before y.
            input_labels: (1, P, K) int64.

        Returns:
            Predicted IoU (1, P, 3) and logits (1, P, 3, 4h, 4w).
        """
        return self._answer([image_embeddings], image_positional_embeddings, input_points[0], input_labels[0])

    def _answer(
        self, maps: list[Tensor], positions: Tensor | None, points: Tensor, labels: Tensor
    ) -> tuple[Tensor, ...]:
        height, width = maps[0].shape[2:]
        size = (height * self.stride, width * self.stride)
        if positions is None:
            positions = self.prompt_encoder.pe_layer.grid(height, width)
        if self.in_half:
            maps = [m.half() for m in maps]
        embedding, *fine = maps
        tokens, valid = self._tokens(points, labels.clamp(min=PADDING), size)
        dense = self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        out = self.mask_decoder(embedding, positions.to(embedding.dtype), tokens, dense, valid, fine)
        found = [out.iou[None, :, 1:], out.low_res[None, :, 1:]]
        if out.object_score is not None:
            found.append(out.object_score[None, :, None])
        return tuple(value.float() for value in found)


class FinePromptDecoder(PromptDecoder):
    """As `PromptDecoder`, of SAM 2, as `Sam2Model` asks: boxes apart, and either of both may be none."""

    def forward(  # type: ignore[override]
        self,
        finest: Tensor,
        middle: Tensor,
        embedding: Tensor,
        input_points: Tensor,
        input_labels: Tensor,
        input_boxes: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            finest: (1, C / 8, 4h, 4w).
            middle: (1, C / 4, 2h, 2w).
            embedding: (1, C, h, w).
            input_points: (1, P, K, 2) pixels of the encoder's input; with boxes alone (1, 1, 0, 2).
            input_labels: (1, P, K) int64; with boxes alone (1, Q, 0).
            input_boxes: (1, Q, 4) corners in the same pixels; with points alone (1, 0, 4).

        Returns:
            Predicted IoU (1, P, 3), logits (1, P, 3, 4h, 4w), and, where the model says it, (1, P, 1) logits of an
            object being there at all.
        """
        labels, boxes = input_labels[0], input_boxes[0]
        number = torch.arange(labels.shape[0])
        points = input_points[0][number.clamp(max=input_points.shape[1] - 1)]
        has_box = number < boxes.shape[0]
        corners = torch.cat([boxes, boxes.new_zeros(1, 4)])[number.clamp(max=boxes.shape[0])].view(-1, 2, 2)
        kinds = torch.tensor([BOX_CORNER, BOX_CORNER + 1])[None].expand(labels.shape[0], -1)
        kinds = torch.where(has_box[:, None], kinds, PADDING)
        return self._answer(
            [embedding, middle, finest],
            None,
            torch.cat([points, corners], dim=1),
            torch.cat([labels, kinds], dim=1),
        )


def encoder_outputs(sam: Sam) -> list[str]:
    """Names of the encoder's outputs, which the decoder takes."""
    if is_fine(sam):
        return [f"image_embeddings.{level}" for level in range(3)]
    return ["image_embeddings", "image_positional_embeddings"]


def write(sam: Sam, folder: Path, side: int, name: str, in_range: bool) -> None:  # noqa: ARG001 - it has no name
    """Write the whole repository.

    Args:
        sam: the model.
        folder: an existing folder.
        side: of the encoder's input, pixels.
        name: of the model.
        in_range: whether float16 holds the model's activations; without, no `_fp16` is written.
    """
    (folder / FOLDER).mkdir()
    for precision in SUFFIXES:
        paths = _paths(folder, precision)
        if precision == "int8":
            for source, target in zip(_paths(folder, "float32"), paths, strict=True):
                shutil.copyfile(source, target)
                store_weights(target, "int8")
            continue
        if precision == "float16" and not in_range:
            continue
        encoder: EncoderGraph = VisionEncoder(sam)
        decoder: DecoderGraph = (FinePromptDecoder if is_fine(sam) else PromptDecoder)(sam)
        if precision == "float16":
            encoder, decoder = in_half(encoder), in_half(decoder)
        _write_encoder(sam, encoder, paths[0], side)
        _write_decoder(sam, decoder, paths[1], side)
    write_json(folder / "config.json", _config(sam, side))
    write_json(folder / PREPROCESSOR, _preprocessor(sam, side))


def _paths(folder: Path, precision: str) -> list[Path]:
    """Encoder and decoder."""
    return [folder / FOLDER / f"{part}{SUFFIXES[precision]}.onnx" for part in (ENCODER, DECODER)]


def files(folder: Path) -> dict[str, list[Path]]:
    """The graphs of each precision that is there."""
    return {name: _paths(folder, name) for name in SUFFIXES if _paths(folder, name)[0].is_file()}


@torch.inference_mode()
def masks(sam: Sam, folder: Path, side: int, precision: str, asked: Sequence[Probe]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of the mask of highest predicted IoU of each point and box, by the files and by the source model."""
    encode, decode = (session(path) for path in _paths(folder, precision))
    for question in asked:
        pixels, frame = preprocess(question.image, side, *sam.preprocessing)
        embedding = dict(zip(encoder_outputs(sam), encode({"pixel_values": pixels[None]}), strict=True))
        expected = sam.encode(pixels[None])
        points = frame.to_input(torch.from_numpy(question.points))[:, None]
        corners = frame.to_input(torch.from_numpy(question.boxes).view(-1, 2, 2))
        ones, box = torch.ones(points.shape[:2], dtype=torch.long), corners.flatten(1)
        calls: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = [
            ({"input_points": points[None], "input_labels": ones[None]}, {"points": points, "labels": ones})
        ]
        if is_fine(sam):
            calls[0][0]["input_boxes"] = torch.zeros(1, 0, 4)
            none = {"input_points": torch.zeros(1, 1, 0, 2), "input_labels": torch.zeros(1, len(box), 0).long()}
            calls.append(({**none, "input_boxes": box[None]}, {"boxes": box}))
        else:
            kinds = torch.tensor([BOX_CORNER, BOX_CORNER + 1]).expand(len(box), -1)[None].contiguous()
            calls.append(({"input_points": corners[None], "input_labels": kinds}, {"boxes": box}))
        for given, own in calls[: 2 if len(box) else 1]:
            _, logits, *_ = decode({**embedding, **given})
            answer = sam.decode(expected, **own)
            best = answer.iou[:, 1:].argmax(1)
            each = torch.arange(len(best))
            pair = logits[0, each, best], answer.low_res[each, 1 + best]
            ours, theirs = (frame.upscale(value[:, None])[:, 0] for value in pair)
            yield ours, theirs


def _write_encoder(sam: Sam, module: nn.Module, path: Path, side: int) -> None:
    images = {"pixel_values": {0: torch.export.Dim("batch_size")}}
    write_onnx(module, [torch.zeros(2, 3, side, side)], path, ["pixel_values"], encoder_outputs(sam), images)


def _write_decoder(sam: Sam, module: nn.Module, path: Path, side: int) -> None:
    maps = [torch.zeros(1, *shape) for shape in sam.config.encoder.map_shapes(side, side)]
    prompts, points = torch.export.Dim("prompts"), torch.export.Dim("points", max=_MOST_POINTS)
    example = [*maps[::-1], torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, dtype=torch.long)]
    names = [*encoder_outputs(sam), "input_points", "input_labels"]
    dynamic: dict[str, dict[int, Any]] = {name: {1: prompts, 2: points} for name in names[-2:]}
    outputs = ["iou_scores", "pred_masks"]
    if is_fine(sam):
        example.append(torch.zeros(1, 2, 4))
        names.append("input_boxes")
        dynamic["input_points"] = {1: torch.export.Dim("point_prompts"), 2: points}
        dynamic["input_boxes"] = {1: torch.export.Dim("boxes")}
        if sam.config.decoder.object_score:
            outputs.append("object_score_logits")
    else:
        example.insert(1, torch.zeros_like(maps[0]))
    write_onnx(module, example, path, names, outputs, dynamic)


def _config(sam: Sam, side: int) -> dict[str, Any]:
    kind = "sam2" if is_fine(sam) else "sam"
    vision: dict[str, Any] = {"model_type": f"{kind}_vision_model", "image_size": side}
    if is_fine(sam):
        vision["num_feature_levels"] = 3
    return {
        "architectures": ["Sam2Model" if is_fine(sam) else "SamModel"],
        "model_type": kind,
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": sam.config.encoder.out_channels, "image_size": side},
        "mask_decoder_config": {"num_multimask_outputs": sam.config.decoder.num_multimask_outputs},
    }


def _preprocessor(sam: Sam, side: int) -> dict[str, Any]:
    said = preprocessor(sam.config)
    square = {"height": side, "width": side}
    if is_fine(sam):
        for name in ("pad_size", "mask_size", "mask_pad_size"):
            said.pop(name)
        stretched = {"image_processor_type": "Sam2ImageProcessor", "processor_class": "Sam2Processor", "size": square}
        return {**said, **stretched, "do_pad": False}
    sizes = {"size": {"longest_edge": side}, "pad_size": square, "mask_size": {"longest_edge": side // 4}}
    return {**said, **sizes, "mask_pad_size": {"height": side // 4, "width": side // 4}}
