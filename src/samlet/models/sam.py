"""A whole Segment Anything Model: image encoder, prompt encoder, mask decoder. Tensors in, tensors out."""

from __future__ import annotations

import dataclasses
import hashlib

import torch
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.models.config import EncoderConfig, SamConfig, TinyViTConfig
from samlet.models.efficient_decoder import EfficientMaskDecoder, EfficientPromptEncoder
from samlet.models.mask_decoder import DecoderOutput, MaskDecoder
from samlet.models.prompt_encoder import PromptEncoder
from samlet.models.quantized import is_quantized
from samlet.models.repvit import RepViTEncoder
from samlet.models.repvit_config import RepViTConfig
from samlet.models.tiny_vit import TinyViTEncoder
from samlet.models.vit import ViTEncoder

ImageEncoder = ViTEncoder | TinyViTEncoder | RepViTEncoder


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """An image encoder with untrained weights."""
    if isinstance(config, TinyViTConfig):
        return TinyViTEncoder(config)
    return RepViTEncoder(config) if isinstance(config, RepViTConfig) else ViTEncoder(config)


class Sam(nn.Module):
    """Segment Anything Model.

    Args:
        config: architecture and widths. The weights are untrained; `samlet.load` makes a trained model.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.encoder.out_channels
        self.image_encoder = build_encoder(config.encoder)
        own = config.decoder.style == "efficient_sam"
        self.prompt_encoder = (EfficientPromptEncoder if own else PromptEncoder)(config.decoder, channels)
        self.mask_decoder = (EfficientMaskDecoder if own else MaskDecoder)(config.decoder, channels)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    @property
    def preprocessing(self) -> tuple[Tensor, Tensor, bool]:
        """Mean and deviation of the pixels, and whether images are stretched: `samlet.data.transforms.preprocess`."""
        return self.pixel_mean, self.pixel_std, self.config.resize == "stretch"

    @property
    def has_single_mask(self) -> bool:
        """Whether output 0 was trained; EfficientSAM's was not."""
        return self.config.decoder.style == "sam"

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
        """A model whose prompt encoder and mask decoder are this one's, for `SharedDecoder`; None where it takes none.

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

    def encode(self, images: Tensor) -> Tensor:
        """Image embeddings.

        Args:
            images: (N, 3, H, W) normalised RGB (see `samlet.data.transforms.preprocess`), H and W multiples of 16.

        Returns:
            (N, C, H / 16, W / 16).

        Raises:
            InputError: a size that the patch grid does not allow.
        """
        check_images(images, self.config.encoder.stride)
        return self.image_encoder(images)

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> DecoderOutput:
        """Masks for prompts on one image (or on as many images as prompts).

        Args:
            embedding: (1 or P, C, h, w) from `encode`.
            points: (P, K, 2) pixels of the encoder's input, x before y.
            labels: (P, K) 1 foreground, 0 background, -1 SAM's own filler, -2 padding that counts for nothing.
            boxes: (P, 4) x0, y0, x1, y1 in the same pixels.
            masks: (P, 1, 4h, 4w) logits of an earlier answer.
        """
        height, width = embedding.shape[2:]
        stride = self.config.encoder.stride
        tokens, valid = self.prompt_encoder.tokens(points, labels, boxes, (height * stride, width * stride))
        positions = self.prompt_encoder.pe_layer.grid(height, width)
        out = self.mask_decoder(embedding, positions, tokens, self.prompt_encoder.dense(masks), valid)
        if self.config.score == "iou":
            return out
        return dataclasses.replace(out, iou=stability(out.low_res, self.config.mask_threshold))


def check_images(images: Tensor, stride: int) -> None:
    """Raise InputError for images that are not (N, 3, H, W) with H and W multiples of the stride."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % stride or images.shape[3] % stride:
        raise InputError(
            f"images have shape {tuple(images.shape)}; expected (N, 3, H, W) with H and W multiples of {stride}"
        )


def stability(logits: Tensor, threshold: float, offset: float = 1.0) -> Tensor:
    """Stability score of masks (..., h, w): IoU of the masks at logits `offset` above and below the threshold."""
    inner, outer = (logits > threshold + offset).sum((-2, -1)), (logits > threshold - offset).sum((-2, -1))
    return (inner / outer.clamp(min=1)).to(logits.dtype)
