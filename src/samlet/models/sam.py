"""A whole Segment Anything Model: image encoder, prompt encoder, mask decoder. Tensors in, tensors out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.models.config import Resize, SamConfig
from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.mask_decoder import DecoderOutput, MaskDecoder
from samlet.models.decoders.sam.prompt_encoder import PromptEncoder
from samlet.models.embedding import Embedding, maps_of
from samlet.models.encoders import build_encoder
from samlet.models.quantized import is_quantized
from samlet.reporting.result import RunResult

_SHOWN = 60  # letters of a name that is printed


class Sam(nn.Module):
    """Segment Anything Model.

    Args:
        config: architecture and widths. The weights are untrained; `samlet.load` makes a trained model.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    read_remarks: tuple[str, ...] = ()
    """What was stripped, ignored or merged when its file was read."""
    provenance: Mapping[str, Any] | None = None
    """Where it comes from, as `provenance.json` says beside a file that it was read from."""
    result: RunResult | None = None
    """Figures and pictures of the run that made it, where `slim`, `distill` or `quantize` did so just now."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        channels, kind = config.encoder.out_channels, DECODERS[config.decoder.style]
        self.image_encoder = build_encoder(config.encoder)
        self.prompt_encoder = cast(PromptEncoder, kind.prompt_encoder(config.decoder, channels))
        self.mask_decoder = cast(MaskDecoder, kind.mask_decoder(config.decoder, channels))
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    def __getstate__(self) -> dict[str, object]:
        """A copy may become another model, so what a run measured, and where it came from, do not go with it."""
        return {name: value for name, value in self.__dict__.items() if name not in ("result", "provenance")}

    def __repr__(self) -> str:
        """Sizes in a few lines; `print(sam.image_encoder)` shows the modules."""
        encoder, decoder = self.config.encoder, self.config.decoder
        counts = [
            sum(p.numel() for p in part.parameters()) / 1e6
            for part in (self.image_encoder, self.prompt_encoder, self.mask_decoder)
        ]
        widths = ", ".join(
            f"{field.name} {value}"
            for field in dataclasses.fields(encoder)
            if field.name in ("embed_dim", "embed_dims", "depth", "depths", "num_heads")
            and (value := getattr(encoder, field.name)) is not None
        )
        lines = [
            f"Sam with a {encoder.kind} encoder{', quantized' if is_quantized(self) else ''}",
            f"  image encoder: {counts[0]:.2f} M parameters; {widths}",
            f"  embedding: {encoder.out_channels} channels, stride {encoder.stride}",
            f"  prompt encoder and mask decoder ({decoder.style}): {counts[1] + counts[2]:.2f} M parameters",
            f"  input: {self.image_size} x {self.image_size} pixels, {self.config.resize}"
            + (f"; trained at {self.config.trained_image_size}" if self.config.trained_image_size else ""),
            f"  weights: {str(self.dtype).removeprefix('torch.')} on {self.device}",
            *(f"  {line}" for line in told(self.provenance or {})),
        ]
        return "\n".join([*lines, *(f"  read: {said}" for said in self.read_remarks)])

    @property
    def preprocessing(self) -> tuple[Tensor, Tensor, Resize]:
        """Mean and deviation of the pixels, and how images come to the input: `samlet.data.transforms.preprocess`."""
        return self.pixel_mean, self.pixel_std, self.config.resize

    @property
    def has_single_mask(self) -> bool:
        """Whether output 0 was trained; EfficientSAM's was not."""
        return DECODERS[self.config.decoder.style].has_single_mask

    @property
    def image_size(self) -> int:
        """Side of the square input that the model was made for, pixels."""
        return self.config.encoder.image_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.mask_decoder.iou_token.weight.dtype

    def decoder_weights(self) -> Sam | None:
        """A model whose prompt encoder and mask decoder are this one's, for `FastMaskDecoder`; None if it takes none.

        It uses weights without the layers that quantize their inputs, and scores that come before any mask.
        """
        return self if self.config.can_share_decoder and not is_quantized(self) else None

    def fingerprint(self) -> str:
        """SHA-256 over names and values of all weights."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode())
            flat = value.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def check_image_size(self, image_size: int | None) -> int:
        """A side of the encoder's square input, pixels; the model's own for None.

        Raises:
            InputError: the patch grid does not allow the size.
        """
        return self.config.check_image_size(image_size)

    def encode(self, images: Tensor) -> Embedding:
        """Image embeddings.

        Args:
            images: (N, 3, H, W) normalised RGB (see `samlet.data.transforms.preprocess`), H and W multiples of 16, of
                32 for Hiera.

        Returns:
            (N, C, H / 16, W / 16); of SAM 2 `Maps`, which also hold the finer maps of strides 8 and 4.

        Raises:
            InputError: a size that the patch grid does not allow.
        """
        check_images(images, self.config.encoder.multiple)
        return self.image_encoder(images)

    def decode(
        self,
        embedding: Embedding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> DecoderOutput:
        """Masks for prompts on one image (or on as many images as prompts).

        Args:
            embedding: (1 or P, C, h, w) from `encode`, with its finer maps where there are some.
            points: (P, K, 2) pixels of the encoder's input, x before y.
            labels: (P, K) 1 foreground, 0 background, -1 SAM's own filler, -2 padding that counts for nothing.
            boxes: (P, 4) x0, y0, x1, y1 in the same pixels.
            masks: (P, 1, 4h, 4w) logits of an earlier answer.
        """
        image, *fine = maps_of(embedding)
        height, width = image.shape[2:]
        stride = self.config.encoder.stride
        tokens, valid = self.prompt_encoder.tokens(points, labels, boxes, (height * stride, width * stride))
        positions = self.prompt_encoder.pe_layer.grid(height, width)
        out = self.mask_decoder(image, positions, tokens, self.prompt_encoder.dense(masks), valid, fine)
        if self.config.score == "iou":
            return out
        return dataclasses.replace(out, iou=stability(out.low_res, self.config.mask_threshold))


def told(provenance: Mapping[str, Any]) -> list[str]:
    """What a provenance says of a model, in a few lines; entries that are not as samlet writes them are left out."""
    lines: list[str] = []
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        figures = provenance["figures"]
        before, after = (float(figures[key]["macs_modules"]) / 1e9 for key in ("teacher_encoder", "encoder"))
        lines.append(
            f"encoder MACs (modules): {after:.1f} G, its teacher's {before:.1f} G, at {figures['cost_image_size']} px"
        )
        agreement = figures["agreement"]
        lines.append(
            f"agreement with its teacher: {float(agreement['aligned']):.3f} on {agreement['images']} photographs held "
            f"out, at {figures['image_size']} px"
        )
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        parents = " and ".join(str(parent["name"])[:_SHOWN] for parent in provenance["parents"])
        lines.append(f"origin: {str(provenance['method'])[: 2 * _SHOWN]}, from {parents}")
    return lines


def check_images(images: Tensor, multiple: int) -> None:
    """Raise InputError for images that are not (N, 3, H, W) with H and W multiples of a number."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % multiple or images.shape[3] % multiple:
        raise InputError(
            f"images have shape {tuple(images.shape)}; expected (N, 3, H, W) with H and W multiples of {multiple}"
        )


def stability(logits: Tensor, threshold: float, offset: float = 1.0) -> Tensor:
    """Stability score of masks (..., h, w): IoU of the masks at logits `offset` above and below the threshold."""
    inner, outer = (logits > threshold + offset).sum((-2, -1)), (logits > threshold - offset).sum((-2, -1))
    return (inner / outer.clamp(min=1)).to(logits.dtype)
