"""Which outputs of a mask decoder count: of EfficientSAM's, the first was never trained."""

from __future__ import annotations

import torch
from torch import Tensor

from samlet.models.interface import PromptableModel
from samlet.models.mask_decoder import DecoderOutput


def trained_outputs(model: PromptableModel, out: DecoderOutput) -> DecoderOutput:
    """The outputs that were trained, M of them: all, or the multimask outputs where a model has no single mask.

    Args:
        model: whose answer it is.
        out: (P, 1 + multimask) masks.
    """
    if model.has_single_mask:
        return out
    tokens = torch.cat([out.tokens[:, :1], out.tokens[:, 2:]], dim=1)
    return DecoderOutput(low_res=out.low_res[:, 1:], iou=out.iou[:, 1:], tokens=tokens)


def single_masks(model: PromptableModel, low_res: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """The single mask of each prompt, or where a model has none the multimask output of highest predicted IoU.

    Args:
        model: whose answer it is.
        low_res: logits of all its outputs (P, 1 + multimask, h, w).
        iou: their predicted IoU (P, 1 + multimask).

    Returns:
        Logits (P, h, w) and predicted IoU (P,).
    """
    if model.has_single_mask:
        return low_res[:, 0], iou[:, 0]
    each, best = torch.arange(len(iou), device=iou.device), 1 + iou[:, 1:].argmax(dim=1)
    return low_res[each, best], iou[each, best]
