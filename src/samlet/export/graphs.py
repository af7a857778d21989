"""The two graphs that leave Python, as modules: image encoder, and prompt encoder with mask decoder.

Shape legend: N images, P prompts, K points a prompt, M masks (single first, then multimask), C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.models import Sam, maps_of
from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.prompt_encoder import NOT_A_POINT, PADDING

BOX_CORNER = 2
"""Label of a box's first corner; the second one's is one more."""

ENCODER_INPUTS = ("image",)
PROMPT_INPUTS, DECODER_OUTPUTS = ("points", "labels", "mask", "has_mask"), ("low_res", "iou")


class EncoderGraph(nn.Module):
    """(N, 3, H, W) normalised RGB to the maps of the embedding, the coarsest (N, C, H / 16, W / 16) first."""

    in_half = False
    """Whether the weights are float16, see `samlet.export.float16`; inputs and outputs are float32 in any case."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.image_encoder = sam.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        maps = maps_of(self.image_encoder(image.half() if self.in_half else image))
        return tuple(m.float() for m in maps) if self.in_half else maps


class DecoderGraph(nn.Module):
    """Prompts on one image to masks and predicted IoU; the graph of SAM with boxes as labelled points.

    Args:
        sam: a model with the decoder of SAM or SAM 2; see `decoder_graph` for the latter.
        full_masks: also answer masks at the size of the original photograph.

    Raises:
        InputError: the model has another decoder.
    """

    in_half = False
    """As `EncoderGraph.in_half`."""

    def __init__(self, sam: Sam, full_masks: bool = False) -> None:
        super().__init__()
        if not DECODERS[sam.config.decoder.style].exports:
            raise InputError(
                f"the decoder is {sam.config.decoder.style}'s, which samlet cannot export; expected SAM's or SAM 2's. "
                "Run it in Python, or distil it into a student such as mobile_sam"
            )
        self.stride, self.resize = sam.config.encoder.stride, sam.config.resize
        self.prompt_encoder, self.mask_decoder = sam.prompt_encoder, sam.mask_decoder
        self.full_masks = full_masks

    def forward(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            embedding: (1, C, h, w) from the encoder.
            points: (P, K, 2) pixels of the encoder's input, x before y.
            labels: (P, K) 1 foreground, 0 background, 2 and 3 first and second corner of a box, -1 SAM's own filler,
                -2 padding that counts for nothing. A prompt without a box gets SAM's filler here.
            mask: (1 or P, 1, 4h, 4w) logits of an earlier answer.
            has_mask: (1,) 1, or 0 to leave `mask` out of account.
            original_size: (2,) height and width of the photograph, pixels, for full-size masks.

        Returns:
            Logits (P, M, 4h, 4w), predicted IoU (P, M), and with `full_masks` logits (P, M, height, width).
        """
        return self.decode([embedding], points, labels, mask, has_mask, original_size)

    def decode(
        self,
        maps: Sequence[Tensor],
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """As `forward`, of all maps of an embedding."""
        if self.in_half:
            maps, mask = [m.half() for m in maps], mask.half()
        embedding, *fine = maps
        height, width = embedding.shape[2:]
        tokens, valid = self._tokens(points, labels, (height * self.stride, width * self.stride))
        none = self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        dense = torch.where(has_mask.view(1, 1, 1, 1) > 0, self.prompt_encoder.dense(mask), none)
        positions = self.prompt_encoder.pe_layer.grid(height, width).to(embedding.dtype)
        out = self.mask_decoder(embedding, positions, tokens, dense, valid, fine)
        found: tuple[Tensor, ...] = (out.low_res, out.iou)
        if original_size is not None:
            found = (*found, self._full_size(out.low_res, original_size))
        return tuple(value.float() for value in found) if self.in_half else found

    def _tokens(self, points: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Sparse embeddings (P, K + 1, C) and which of them count."""
        encoder = self.prompt_encoder
        boxes, given = (labels == BOX_CORNER).sum(1, keepdim=True), (labels != PADDING).sum(1, keepdim=True)
        wanted = given > 0 if encoder.always_fills else (boxes == 0) & (given > 0)
        filler = torch.where(wanted, NOT_A_POINT, PADDING)
        labels, points = torch.cat([labels, filler], dim=1), F.pad(points, (0, 0, 0, 1))
        scale = torch.tensor([size[1], size[0]], dtype=points.dtype)
        encoded = encoder.pe_layer((points + 0.5) / scale)
        encoded = torch.where((labels >= 0)[..., None], encoded, torch.zeros_like(encoded))
        encoded = encoded.to(encoder.not_a_point_embed.weight.dtype)
        filling = encoder.not_a_point_embed.weight
        embeddings = [entry.weight for entry in encoder.point_embeddings]
        table = torch.cat([filling, filling, *embeddings])  # type: ignore[list-item]
        return encoded + table[labels.clamp(PADDING, BOX_CORNER + 1) - PADDING], labels != PADDING

    def _full_size(self, low_res: Tensor, original_size: Tensor) -> Tensor:
        """Logits at the photograph's size: up to the input's, without its padding, then to the photograph's.

        Of a photograph that was stretched, in one step.
        """
        height, width = int(original_size[0].item()), int(original_size[1].item())
        torch._check(height > 0)
        torch._check(width > 0)
        if self.resize != "longest_side":
            return F.interpolate(low_res, size=(height, width), mode="bilinear", align_corners=False)
        side = low_res.shape[-1] * self.stride // 4
        whole = F.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
        longest = torch.maximum(original_size[0], original_size[1])
        kept = [int(((side * original_size[i] * 2 + longest) // (2 * longest)).item()) for i in (0, 1)]
        for size in kept:
            torch._check(size >= 1)
            torch._check(size <= side)
        inside = whole.narrow(2, 0, kept[0]).narrow(3, 0, kept[1])
        return F.interpolate(inside, size=(height, width), mode="bilinear", align_corners=False)


class FineDecoderGraph(DecoderGraph):
    """`DecoderGraph` of a model whose decoder takes two finer maps beside the embedding, as SAM 2's."""

    def forward(  # type: ignore[override]
        self,
        embedding: Tensor,
        fine_0: Tensor,
        fine_1: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As `DecoderGraph.forward`, with maps (1, c, 2h, 2w) and (1, c, 4h, 4w)."""
        return self.decode([embedding, fine_0, fine_1], points, labels, mask, has_mask, original_size)


def decoder_graph(sam: Sam, full_masks: bool = False) -> DecoderGraph:
    """The decoder's graph of a model; raises InputError for decoders that have none."""
    kind = FineDecoderGraph if sam.config.encoder.fine_channels else DecoderGraph
    return kind(sam, full_masks)
