"""SAM 2's prompt encoder and mask decoder, for images (Ravi et al., "SAM 2", 2024).

They vary SAM's: finer maps of the image are added where masks are drawn; a token of its own says whether an object is
there at all; predicted IoU ends in a sigmoid; prompts with a box get the filler point too; mask prompts are clamped;
and a single mask that is not stable gives way to the best of the three others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from samlet.models.building_blocks import MLP
from samlet.models.decoders.config import DecoderConfig
from samlet.models.decoders.sam.mask_decoder import MaskDecoder
from samlet.models.decoders.sam.prompt_encoder import PromptEncoder

MOST_LOGIT = 32.0
"""Mask prompts are clamped to this and its negative."""
_OFFSET, _STABLE = 0.05, 0.98


class Sam2PromptEncoder(PromptEncoder):
    """Same methods as `PromptEncoder`."""

    always_fills: ClassVar[bool] = True

    def dense(self, masks: Tensor | None) -> Tensor:
        """As `PromptEncoder.dense`, of clamped logits."""
        return super().dense(None if masks is None else masks.clamp(-MOST_LOGIT, MOST_LOGIT))


class Sam2MaskDecoder(MaskDecoder):
    """Same methods as `MaskDecoder`; its finer maps have C / 4 and C / 8 channels."""

    leading: ClassVar[int] = 1

    def __init__(self, config: DecoderConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.pred_obj_score_head = MLP(dim, dim, 1, 3) if config.object_score else None

    def own_tokens(self) -> Tensor:
        return torch.cat([self.obj_score_token.weight, super().own_tokens()])

    def upscale(self, source: Tensor, fine: Sequence[Tensor]) -> Tensor:
        first, norm, activation, second, last = self.output_upscaling
        middle, finest = fine
        return last(second(activation(norm(first(source) + middle))) + finest)

    def predicted_iou(self, token: Tensor) -> Tensor:
        return super().predicted_iou(token).sigmoid()

    def object_score(self, tokens: Tensor) -> Tensor | None:
        return None if self.pred_obj_score_head is None else self.pred_obj_score_head(tokens[:, 0])[:, 0]


def stable_single(low_res: Tensor, iou: Tensor) -> Tensor:
    """Output 0 where it is stable, the multimask output of highest predicted IoU elsewhere; see `DecoderKind.single`.

    Stable is a mask whose area at logits above 0.05 is at least 0.98 of that above -0.05.
    """
    inner, outer = ((low_res[:, 0] > at).sum((-2, -1)) for at in (_OFFSET, -_OFFSET))
    stable = (inner >= _STABLE * outer) | (outer == 0)
    return torch.where(stable, 0, 1 + iou[:, 1:].argmax(dim=1))
