"""The terms of full-stage distillation (TinySAM, AAAI 2025, eqs. 1 to 7), each a pure function.

Shape legend: P prompts, M masks of a prompt (single first, if there is one, then multimask), h, w low-res pixels, C
channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.training.mask_losses import mask_iou, mask_loss

_EPS = 1e-6
_ROUNDING = 1e-5  # of the largest number: differences as small come from the order of sums, so from who computes them


def _apart(student: Tensor, teacher: Tensor) -> Tensor:
    """|student - teacher|, 0 where that is rounding: a student that equals its teacher has no loss and no gradient.

    The largest number is sought in each entry of the first axis apart, so what is compared at once changes nothing.
    """
    student, teacher = student.float(), teacher.detach().float()
    largest = teacher.abs().amax(dim=tuple(range(1, teacher.ndim)), keepdim=True)
    return F.relu((student - teacher).abs() - _ROUNDING * largest)


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """ℓ1 distance, a scalar, the mean over the first axis: of image embeddings (eq. 2), of output tokens (eq. 3)."""
    return _apart(student, teacher).mean()


def hardness(teacher_iou: Tensor, student_iou: Tensor) -> Tensor:
    """H = sigmoid(IoU(M_T, M_gt) / (IoU(M_S, M_gt) + ε) - 1) (eq. 6): about ½ where both are equally good.

    Args:
        teacher_iou: (...) of the teacher's masks with the true ones.
        student_iou: (...) of the student's.
    """
    return torch.sigmoid(teacher_iou / (student_iou + _EPS) - 1)


def output_errors(student: Tensor, teacher: Tensor) -> Tensor:
    """ℓ1 distance of the logits of each mask (eq. 4): (P, M, h, w) twice, to (P, M)."""
    return _apart(student, teacher).mean(dim=(-2, -1))


@torch.no_grad()
def mask_hardness(student: Tensor, teacher: Tensor, truth: Tensor, threshold: float) -> Tensor:
    """`hardness` of each mask, (P, M), without gradient.

    Args:
        student: logits (P, M, h, w).
        teacher: logits (P, M, h, w).
        truth: (P, h, w) bool.
        threshold: of logits, over which a pixel is mask.
    """
    return hardness(*(mask_iou(logits > threshold, truth[:, None]) for logits in (teacher, student)))


def output_distance(errors: Tensor, hard: Tensor | None = None) -> Tensor:
    """Σ H_i · error_i / Σ H_i over prompts and masks (eqs. 4 to 6), a scalar.

    The paper's H_i average about ½. Divided by their mean, as here, they say which masks of a photograph count more,
    and the term as a whole weighs what it weighs without them; what γ means does not depend on hard masks.

    Args:
        errors: (P, M) of all prompts of a photograph.
        hard: (P, M) H_i; all masks alike if None.
    """
    return errors.mean() if hard is None else (hard * errors).sum() / hard.sum()


def truth_loss(logits: Tensor, shares: Tensor, single: bool = True) -> Tensor:
    """Focal and dice loss against the true masks: of the single mask, and of the best of the others, in equal parts.

    Of several masks for an ambiguous prompt only the best is held to the truth (Segment Anything, appendix A).

    Args:
        logits: (P, M, h, w).
        shares: (P, h, w) the share of each low-res pixel that is mask.
        single: whether the first mask is a single mask; all M are multimask outputs if not.

    Returns:
        A scalar.
    """
    each = mask_loss(logits.float(), shares[:, None].expand_as(logits))
    if each.shape[1] == 1 or not single:
        return each.amin(dim=1).mean()
    return (0.5 * each[:, 0] + 0.5 * each[:, 1:].amin(dim=1)).mean()


def iou_loss(predicted: Tensor, logits: Tensor, truth: Tensor, threshold: float) -> Tensor:
    """ℓ1 of predicted and actual IoU (eq. 7), a scalar.

    Args:
        predicted: (P, M).
        logits: (P, M, h, w).
        truth: (P, h, w) bool.
        threshold: of logits, over which a pixel is mask.
    """
    actual = mask_iou(logits.detach() > threshold, truth[:, None])
    return (predicted.float() - actual).abs().mean()
