"""A pruning criterion of one's own: the largest weight of a channel, in place of the sum of all.

SAMLET_PLUGINS=criterion PYTHONPATH=examples/extending samlet slim --importance largest-weight …
"""

from __future__ import annotations

import torch
from torch import Tensor

import samlet
from samlet.slimming.scoring import CriterionInputs


@samlet.register_criterion("largest-weight", "|w| of the largest weight of a channel, no images")
def largest_weight(given: CriterionInputs) -> dict[str, Tensor]:
    """(size,) scores by group name."""
    scores = {}
    for group in given.groups:
        score = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            weight = given.parameters[member.parameter].detach().abs().double()
            along = weight.movedim(member.dim, 0).flatten(1).amax(dim=1) if weight.ndim > 1 else weight
            score = torch.maximum(score, along[member.index(torch.arange(group.size))].amax(dim=(0, 2)))
        scores[group.name] = score
    return scores
