"""Losses of mask logits against true masks (Kirillov et al., "Segment Anything", 2023, appendix A)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT = 20.0
"""Of the focal loss beside the dice loss."""

_GAMMA, _ALPHA = 2.0, 0.25


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss (Lin et al., 2017), the mean over pixels.

    Args:
        logits: (..., h, w).
        truth: (..., h, w) the share of each pixel that is mask, 0 to 1.

    Returns:
        (...).
    """
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = probability * (1 - truth) + (1 - probability) * truth
    weight = _ALPHA * truth + (1 - _ALPHA) * (1 - truth)
    return (weight * missed**_GAMMA * entropy).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - dice coefficient (Milletari et al., 2016), both sums one larger; arguments and result as of `focal_loss`."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(dim=(-2, -1)) + 1
    return 1 - overlap / (probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1)) + 1)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal and dice loss, 20 to 1; arguments and result as of `focal_loss`."""
    return FOCAL_WEIGHT * focal_loss(logits, truth) + dice_loss(logits, truth)


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of masks (..., h, w), bool, to (...); 1 where both are empty."""
    union = (a | b).sum(dim=(-2, -1))
    overlap = (a & b).sum(dim=(-2, -1))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)
