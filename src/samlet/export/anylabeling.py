"""A custom model of AnyLabeling and X-AnyLabeling: `config.yaml` and the two graphs in one zip, to be unpacked.

Type `segment_anything`: the program draws a photograph into the upper left of a canvas, 684 high and 1024 wide, and
gives it to the encoder as (H, W, 3) RGB of 0 to 255; the graph normalises and pads. The decoder has the inputs of
segment-anything's exported one. Type `segment_anything_2`: the program stretches the photograph to the encoder's input
and normalises it; it gives the decoder clicks in pixels of that input. Of both it draws the first mask, so the graph
chooses: for one click or one box the best of the three, for more the single one.

One module, though long: the file, the graphs with those programs' names and the replay of their calls must agree.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from samlet.data.images import RGBImage
from samlet.errors import InputError
from samlet.export.bundles import check_side, session
from samlet.export.graphs import BOX_CORNER, DecoderGraph
from samlet.export.onnx_files import write_onnx
from samlet.export.probes import Probe
from samlet.models import Sam, maps_of
from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.prompt_encoder import PADDING
from samlet.models.quantized import is_quantized

FILE = "model.zip"
CONFIG, ENCODER, DECODER = "config.yaml", "encoder.onnx", "decoder.onnx"
CONFIG_OF_ANYLABELING = "anylabeling.yaml"
"""Beside the other for SAM 2: AnyLabeling knows one type and looks at the decoder, X-AnyLabeling knows two."""
CANVAS = (684, 1024)
"""Height and width of what AnyLabeling draws a photograph into, pixels."""
SIDE = 1024
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_MOST_POINTS = 4096


def _is_fine(sam: Sam) -> bool:
    return bool(sam.config.encoder.fine_channels)


def check(sam: Sam, side: int) -> None:
    """Raise InputError for a model that the program has no place for."""
    if is_quantized(sam):
        raise InputError("the model is quantized, and this target is written in float32; export the float model")
    DecoderGraph(sam)
    if _is_fine(sam):
        said = (*sam.config.pixel_mean, *sam.config.pixel_std)
        if not np.allclose(said, (*_MEAN, *_STD), atol=0.01):
            raise InputError(f"AnyLabeling normalises photographs by {_MEAN} and {_STD}, and the model by {said}")
        return
    check_side(sam, side, SIDE, "AnyLabeling")
    if sam.config.resize != "longest_side":
        raise InputError(f"the model takes photographs by {sam.config.resize}; expected longest_side, as AnyLabeling's")


class CanvasEncoder(nn.Module):
    """(H, W, 3) RGB from 0 to 255 to the embedding (1, C, h, w).

    Args:
        sam: the model.
        side: of the encoder's input, pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sam: Sam, side: int) -> None:
        super().__init__()
        self.image_encoder, self.side = sam.image_encoder, side
        self.register_buffer("mean", torch.tensor(sam.config.pixel_mean))
        self.register_buffer("std", torch.tensor(sam.config.pixel_std))

    def forward(self, input_image: Tensor) -> Tensor:
        """Encode."""
        pixels = ((input_image - self.mean) / self.std).permute(2, 0, 1)[None]
        height, width = pixels.shape[2:]
        return maps_of(self.image_encoder(F.pad(pixels, (0, self.side - width, 0, self.side - height))))[0]


class FineEncoder(nn.Module):
    """(1, 3, H, W) normalised RGB to the maps of SAM 2's embedding, the finest first."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.image_encoder = sam.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        return maps_of(self.image_encoder(image))[::-1]


class ChoosingDecoder(DecoderGraph):
    """One prompt to one mask, with the inputs of segment-anything's exported decoder."""

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam)
        self.kind = DECODERS[sam.config.decoder.style]

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
            point_labels: (1, K) float: 1 foreground, 0 background, 2 and 3 corners of a box, -1 for nothing.
            mask_input: (1, 1, 4h, 4w) logits of an earlier answer.
            has_mask_input: (1,) 1, or 0 to leave `mask_input` out of account.
            orig_im_size: (2,) float: height and width of the masks wanted, pixels.

        Returns:
            Logits (1, 1, height, width), predicted IoU (1, 1), logits (1, 1, 4h, 4w).
        """
        low_res, iou = self._chosen([image_embeddings], point_coords, point_labels, mask_input, has_mask_input)
        return self._full_size(low_res, orig_im_size.long()), iou, low_res

    def _chosen(
        self, maps: Sequence[Tensor], points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mask (1, 1, 4h, 4w) that the program shall draw, and its predicted IoU (1, 1)."""
        kinds = torch.where(labels < 0, PADDING, labels.long())
        low_res, iou = self.decode(maps, points, kinds, mask, has_mask, None)
        given, boxes = (kinds != PADDING).sum(1), (kinds == BOX_CORNER).sum(1)
        ambiguous = given - boxes == 1
        best = 1 + iou[:, 1:].argmax(1)
        alone = torch.zeros_like(best) if self.kind.single_is_first else self.kind.single(low_res, iou)
        chosen = torch.where(ambiguous, best, alone)
        return low_res.gather(1, chosen[:, None, None, None].expand(-1, 1, *low_res.shape[2:])), iou.gather(
            1, chosen[:, None]
        )


class FineChoosingDecoder(ChoosingDecoder):
    """As `ChoosingDecoder`, of SAM 2, whose masks the program enlarges itself."""

    def forward(  # type: ignore[override]
        self,
        image_embed: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode; the finest map is (1, C / 8, 4h, 4w), the next (1, C / 4, 2h, 2w).

        Returns:
            Logits (1, 1, 4h, 4w), predicted IoU (1, 1).
        """
        maps = [image_embed, high_res_feats_1, high_res_feats_0]
        return self._chosen(maps, point_coords, point_labels, mask_input, has_mask_input)


def write(sam: Sam, folder: Path, side: int, name: str, in_range: bool) -> None:  # noqa: ARG001 - float32 alone
    """Write `model.zip`.

    Args:
        sam: the model.
        folder: an existing folder.
        side: of the encoder's input, pixels.
        name: of the model, as the program shall list it.
        in_range: of no account here.
    """
    with tempfile.TemporaryDirectory() as temporary:
        paths = [Path(temporary) / file for file in (ENCODER, DECODER)]
        _write_encoder(sam, paths[0], side)
        _write_decoder(sam, paths[1], side)
        with zipfile.ZipFile(folder / FILE, "w", zipfile.ZIP_DEFLATED) as made:
            kind = "segment_anything_2" if _is_fine(sam) else "segment_anything"
            made.writestr(CONFIG, _config(kind, side, name))
            if _is_fine(sam):
                made.writestr(CONFIG_OF_ANYLABELING, _config("segment_anything", side, name))
            for path in paths:
                made.write(path, path.name)


def _write_encoder(sam: Sam, path: Path, side: int) -> None:
    if _is_fine(sam):
        outputs = ["high_res_feats_0", "high_res_feats_1", "image_embed"]
        write_onnx(FineEncoder(sam), [torch.zeros(1, 3, side, side)], path, ["image"], outputs, {})
    else:
        write_onnx(CanvasEncoder(sam, side), [torch.zeros(*CANVAS, 3)], path, ["input_image"], ["image_embeddings"], {})


def _write_decoder(sam: Sam, path: Path, side: int) -> None:
    maps = [torch.zeros(1, *shape) for shape in sam.config.encoder.map_shapes(side, side)]
    clicks = [torch.zeros(1, 3, 2), torch.ones(1, 3)]
    mask = [torch.zeros(1, 1, 4 * maps[0].shape[2], 4 * maps[0].shape[3]), torch.zeros(1)]
    prompts = ["point_coords", "point_labels", "mask_input", "has_mask_input"]
    points = torch.export.Dim("points", max=_MOST_POINTS)
    dynamic = {"point_coords": {1: points}, "point_labels": {1: points}}
    if _is_fine(sam):
        names = ["image_embed", "high_res_feats_0", "high_res_feats_1", *prompts]
        given = [maps[0], maps[2], maps[1], *clicks, *mask]
        write_onnx(FineChoosingDecoder(sam), given, path, names, ["masks", "iou_predictions"], dynamic)
        return
    names = ["image_embeddings", *prompts, "orig_im_size"]
    given = [maps[0], *clicks, *mask, torch.tensor([float(value) for value in CANVAS])]
    write_onnx(ChoosingDecoder(sam), given, path, names, ["masks", "iou_predictions", "low_res_masks"], dynamic)


def _config(kind: str, side: int, name: str) -> str:
    """The YAML; a JSON text is one in YAML."""
    said = {
        "type": kind,
        "name": f"{name}-samlet",
        "provider": "samlet",
        "display_name": f"{name} (samlet)",
        "encoder_model_path": ENCODER,
        "decoder_model_path": DECODER,
        "input_size": side,
        "max_width": CANVAS[1],
        "max_height": 682,
    }
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in said.items())


def files(folder: Path) -> dict[str, list[Path]]:
    """The zip, which is float32."""
    return {"float32": [folder / FILE]}


@torch.inference_mode()
def masks(
    sam: Sam,
    folder: Path,
    side: int,
    precision: str,  # noqa: ARG001 - float32 alone
    asked: Sequence[Probe],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of the mask that the program draws for each point and box, by the zip and by the source model.

    The source model sees the same pixels, those of the program's canvas, which are coarser than samlet's own.
    """
    with zipfile.ZipFile(folder / FILE) as made:
        encode, decode = session(made.read(ENCODER)), session(made.read(DECODER))
    for question in asked:
        pixels, scale, encoded = (_stretched if _is_fine(sam) else _drawn)(question.image, sam, side)
        maps, expected = encode(encoded), sam.encode(pixels)
        named = dict(zip(["high_res_feats_0", "high_res_feats_1", "image_embed"], maps, strict=False))
        if not _is_fine(sam):
            named = {"image_embeddings": maps[0], "orig_im_size": torch.tensor([float(value) for value in CANVAS])}
        clicks = [(torch.from_numpy(point[None]) * scale, [1.0]) for point in question.points]
        clicks += [(torch.from_numpy(box.reshape(2, 2)) * scale, [2.0, 3.0]) for box in question.boxes]
        ours, theirs = [], []
        for points, kinds in clicks:
            is_box, given = len(kinds) > 1, (points.float(), list(kinds))
            if not _is_fine(sam):  # the program ends every prompt with a point that says nothing
                given = torch.cat([points.float(), torch.zeros(1, 2)]), [*kinds, -1.0]
            height = 4 * maps[-1].shape[2]
            answer = decode(
                {
                    **named,
                    "point_coords": given[0][None],
                    "point_labels": torch.tensor([given[1]]),
                    "mask_input": torch.zeros(1, 1, height, height),
                    "has_mask_input": torch.zeros(1),
                }
            )
            ours.append(answer[0][0, 0])
            prompt = {"boxes": points.float().view(1, 4)} if is_box else {"points": points.float()[None]}
            found = sam.decode(expected, **prompt, **({} if is_box else {"labels": torch.ones(1, 1).long()}))
            best = found.low_res[:, [1 + int(found.iou[0, 1:].argmax())]]
            theirs.append(best[0, 0] if _is_fine(sam) else _on_canvas(best, side))
        yield torch.stack(ours), torch.stack(theirs)


def _on_canvas(low_res: Tensor, side: int) -> Tensor:
    """Logits (1, 1, h, w) at the size of the canvas."""
    whole = F.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
    return whole[0, 0, : CANVAS[0], : CANVAS[1]]


def _drawn(image: RGBImage, sam: Sam, side: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The source model's input, scale of coordinates, and what the program gives the encoder."""
    height, width = image.shape[:2]
    scale = min(CANVAS[1] / width, CANVAS[0] / height)
    rows, columns = np.arange(CANVAS[0]) / scale, np.arange(CANVAS[1]) / scale
    grid = np.meshgrid(rows, columns, indexing="ij")
    canvas = np.stack(
        [ndimage.map_coordinates(image[..., c].astype(float), grid, order=1, mode="constant") for c in range(3)], -1
    )
    given = torch.from_numpy(canvas.round().astype(np.float32))
    mean, std = (torch.tensor(values) for values in (sam.config.pixel_mean, sam.config.pixel_std))
    pixels = ((given - mean) / std).permute(2, 0, 1)[None]
    return F.pad(pixels, (0, side - CANVAS[1], 0, side - CANVAS[0])), torch.tensor(scale), {"input_image": given}


def _stretched(image: RGBImage, sam: Sam, side: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """As `_drawn`, of SAM 2."""
    height, width = image.shape[:2]
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    whole = F.interpolate(whole, size=(side, side), mode="bilinear", align_corners=False).round()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (sam.config.pixel_mean, sam.config.pixel_std))
    pixels = (whole - mean) / std
    return pixels, torch.tensor([side / width, side / height]), {"image": pixels}
