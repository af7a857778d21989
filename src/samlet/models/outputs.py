"""Which outputs of a mask decoder count: of EfficientSAM's, the first was never trained."""

from __future__ import annotations

import torch
from torch import Tensor

from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.models.interface import PromptableModel


def trained_outputs(model: PromptableModel, out: DecoderOutput) -> DecoderOutput:
    """The outputs that were trained, M of them: all, or the multimask outputs where a model has no single mask.

    Args:
        model: whose answer it is.
        out: (P, 1 + multimask) masks.
    """
    if model.has_single_mask:
        return out
    tokens = torch.cat([out.tokens[:, :1], out.tokens[:, 2:]], dim=1)
    return DecoderOutput(low_res=out.low_res[:, 1:], iou=out.iou[:, 1:], tokens=tokens, object_score=out.object_score)


def single_masks(model: PromptableModel, low_res: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """The answer to each prompt taken as unambiguous: output 0, or what the kind of decoder takes in its place.

    EfficientSAM has no single mask, and SAM 2 gives up one that is not stable; both take the multimask output of
    highest predicted IoU then.

    Args:
        model: whose answer it is.
        low_res: logits of all its outputs (P, 1 + multimask, h, w).
        iou: their predicted IoU (P, 1 + multimask).

    Returns:
        Logits (P, h, w) and predicted IoU (P,).
    """
    kind = DECODERS[model.config.decoder.style]
    if kind.single_is_first:
        return low_res[:, 0], iou[:, 0]
    each, chosen = torch.arange(len(iou), device=iou.device), kind.single(low_res, iou)
    return low_res[each, chosen], iou[each, chosen]
