"""Any mask decoder behind the interface of `FastMaskDecoder`: every mask is computed at once."""

from __future__ import annotations

import torch
from torch import Tensor

from samlet.models.decoders.sam.fast import Decoded, FastMaskDecoder, Window
from samlet.models.embedding import Embedding
from samlet.models.interface import PromptableModel
from samlet.models.sam import Sam


class FullMaskDecoder:
    """The mask decoder of one image, for models whose decoder or scores are not SAM's own, quantized, or exported.

    Args:
        sam: the model.
        embedding: (1, C, h, w) from `Sam.encode`, and its finer maps where it has some.
    """

    def __init__(self, sam: PromptableModel, embedding: Embedding) -> None:
        self.sam, self.embedding = sam, embedding
        self.height, self.width = embedding.shape[2:]

    @property
    def low_res_size(self) -> tuple[int, int]:
        """Height and width of the masks."""
        return 4 * self.height, 4 * self.width

    def transform(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Decoded:
        """Answer prompts; `features` of the result are the low-res logits (P, M, 4h, 4w)."""
        out = self.sam.decode(self.embedding, points, labels, boxes, masks)
        return Decoded(out.iou, out.iou.new_empty(0), out.low_res)

    def masks(self, decoded: Decoded, prompt: int, outputs: list[int], window: Window | None = None) -> Tensor:
        """As `FastMaskDecoder.masks`."""
        top, bottom, left, right = window or (0, self.height, 0, self.width)
        return decoded.features[prompt, outputs, 4 * top : 4 * bottom, 4 * left : 4 * right].float()

    def samples(self, decoded: Decoded, rows: int | None = None, columns: int | None = None) -> Tensor:
        """As `FastMaskDecoder.samples`."""
        return decoded.features[:, :, 2::4, 2::4][..., : rows or self.height, : columns or self.width].float()


def prompt_decoder(
    sam: PromptableModel, embedding: Embedding, dtype: torch.dtype | None = None, *, many: bool = False
) -> FastMaskDecoder | FullMaskDecoder:
    """The fastest decoder for prompts on one image that gives the model's own answers; see `FastMaskDecoder`.

    A quantized model takes none but its own. An exported one answers with its graph, which is what a user of it wants
    to see; only where `many` prompts are asked, as in everything mode, with the weights beside the graph.
    """
    weights = sam.decoder_weights() if many or isinstance(sam, Sam) else None
    return FullMaskDecoder(sam, embedding) if weights is None else FastMaskDecoder(weights, embedding, dtype)
