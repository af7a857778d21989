"""Which channels stay, given their scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from samlet.models import ChannelGroup

_EPS = 1e-8

Kept = dict[str, Tensor]
"""Sorted indices of the channels that stay, by group name."""


def _top(scores: Tensor, count: int) -> Tensor:
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _floor(count: float, group: ChannelGroup) -> int:
    divisor = min(group.divisor, group.size)
    return max(divisor, int(count + 1e-6) // divisor * divisor)


def select_uniform(groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratio: float) -> Kept:
    """Cut the same share from every group; the width kept is rounded down to the group's divisor.

    Args:
        groups: groups of one kind.
        scores: (size,) by group name.
        ratio: share of the channels to cut, between 0 and 1.
    """
    return {g.name: _top(scores[g.name], _floor(g.size * (1 - ratio), g)) for g in groups}


def select_global(groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratio: float) -> Kept:
    """Rank the channels of all groups of one family together, each group's scores normalised to mean 0 and deviation 1.

    This is the `gaussian` normalisation, SlimSAM's choice for bottlenecks (section 3.4). Widths are rounded to the
    nearest multiple of the group's divisor, so that the share cut stays close to `ratio`.
    """
    families: dict[str, list[ChannelGroup]] = defaultdict(list)
    for group in groups:
        families[group.family].append(group)
    kept: Kept = {}
    for members in families.values():
        normalised = {}
        for group in members:
            score = scores[group.name]
            normalised[group.name] = (score - score.mean()) / (score.std(correction=0) + _EPS)
        ranked = torch.cat(list(normalised.values())).sort().values
        threshold = ranked[min(round(len(ranked) * ratio), len(ranked) - 1)]
        for group in members:
            above = int((normalised[group.name] >= threshold).sum())
            divisor = min(group.divisor, group.size)
            count = min(group.size, max(divisor, round(above / divisor) * divisor))
            kept[group.name] = _top(scores[group.name], count)
    return kept
