"""A selection and a loss of one's own.

SAMLET_PLUGINS=selection_and_loss PYTHONPATH=examples/extending samlet slim --selection by-rank --loss smooth …
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

import samlet


@samlet.register_selection("by-rank", "ranked together by the place of a channel in its own group")
def by_rank(scores: Tensor) -> Tensor:
    """(size,) scores of a group to (size,) in 0 to 1: the lowest is 0."""
    return scores.argsort().argsort().to(scores) / max(1, len(scores) - 1)


@samlet.register_loss("smooth", "smooth L1 over the target's deviation")
def smooth(output: Tensor, target: Tensor, images: int) -> Tensor:
    """A scalar; `images` of equal size stand one after the other in the first axis."""
    scale = target.unflatten(0, (images, -1)).flatten(1).std(dim=1).clamp(min=1e-6)
    scale = scale.repeat_interleave(len(target) // images).view(-1, *[1] * (target.ndim - 1))
    return F.smooth_l1_loss(output / scale, target / scale)
