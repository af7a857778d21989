"""Which channels stay, given their scores (SlimSAM, section 3.4)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from samlet.errors import InputError
from samlet.models import ChannelGroup
from samlet.slimming.config import Selection, selections

_EPS = 1e-8
_LEAST = 4

Kept = dict[str, Tensor]
"""Sorted indices of the channels that stay, by group name."""


def _safe(divisor: Tensor, scores: Tensor) -> Tensor:
    """A divisor that is never zero, however small the scores are."""
    return (divisor + _EPS * scores.max()).clamp(min=torch.finfo(scores.dtype).tiny)


def _gaussian(s: Tensor) -> Tensor:
    return (s - s.mean()) / _safe(s.std(correction=0), s)


def _mean(s: Tensor) -> Tensor:
    return s / _safe(s.mean(), s)


def _max(s: Tensor) -> Tensor:
    return s / _safe(s.max(), s)


def _sum(s: Tensor) -> Tensor:
    return s / _safe(s.sum(), s)


def _standardization(s: Tensor) -> Tensor:
    return (s - s.min()) / _safe(s.max() - s.min(), s)


for _name, _function in (
    ("gaussian", _gaussian),
    ("mean", _mean),
    ("max", _max),
    ("sum", _sum),
    ("standardization", _standardization),
):
    selections.built_in(_name)(_function)


def check_ratio(groups: Sequence[ChannelGroup], ratio: float) -> None:
    """Refuse a ratio that would leave a group without channels, or with too few for a norm to mean something.

    Raises:
        InputError: naming the group and the largest ratio that works.
    """

    def largest(group: ChannelGroup) -> float:
        return 1 - _least(group) / group.size

    tightest = min(groups, key=largest)
    if ratio > largest(tightest) + 1e-9:
        raise InputError(
            f"ratio {ratio:g} would leave nothing of {tightest.name}, which has {tightest.size} channels and needs "
            f"{_least(tightest)}; expected at most {math.floor(largest(tightest) * 1000) / 1000:g}"
        )


def top(scores: Tensor, count: int) -> Tensor:
    """Sorted indices of the highest scores."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _least(group: ChannelGroup) -> int:
    """Channels that a group cannot do without."""
    return min(group.divisor, group.size, _LEAST)


def nearest_width(count: float, group: ChannelGroup) -> int:
    """The allowed width next to a count: a multiple of the divisor, or below it a smaller power of two."""
    least = _least(group)
    count = min(max(count, least), group.size)
    divisor = next(d for d in (group.divisor, 8, 4, 2, 1) if d <= min(count + 1e-6, group.divisor))
    return max(least, min(group.size // divisor, int(count / divisor + 0.5 + 1e-6)) * divisor)


def select_uniform(groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratio: float) -> Kept:
    """Cut the same share from every group; the width kept is the multiple of the group's divisor that is nearest.

    Args:
        groups: groups of one kind.
        scores: (size,) by group name.
        ratio: share of the channels to cut, between 0 and 1.
    """
    return {g.name: top(scores[g.name], nearest_width(g.size * (1 - ratio), g)) for g in groups}


def select_global(
    groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratio: float, normalisation: Selection = "gaussian"
) -> Kept:
    """Rank the channels of all groups of one family together, each group's scores normalised first.

    Widths are rounded to the nearest multiple of the group's divisor, so that the share cut stays close to `ratio`.
    Every group keeps at least its divisor.

    Args:
        groups: groups, of any families.
        scores: (size,) by group name.
        ratio: share of the channels of each family to cut.
        normalisation: see `SELECTIONS`; `uniform` is none of them.
    """
    kept: Kept = {}
    for members in _families(groups).values():
        normalised = {g.name: selections[normalisation](scores[g.name].double()) for g in members}
        ranked = torch.cat(list(normalised.values())).sort().values
        threshold = ranked[min(round(len(ranked) * ratio), len(ranked) - 1)]
        for group in members:
            above = int((normalised[group.name] >= threshold).sum())
            divisor = min(group.divisor, group.size)
            count = min(group.size, max(divisor, round(above / divisor) * divisor))
            kept[group.name] = top(scores[group.name], count)
    return kept


def select(
    groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratios: Mapping[str, float], selection: Selection
) -> Kept:
    """Choose by family, each with its own ratio.

    Args:
        groups: groups, of any families.
        scores: (size,) by group name.
        ratios: share of the channels to cut, by family.
        selection: see `SELECTIONS`.
    """
    kept: Kept = {}
    for family, members in _families(groups).items():
        if selection == "uniform":
            kept |= select_uniform(members, scores, ratios[family])
        else:
            kept |= select_global(members, scores, ratios[family], selection)
    return kept


def select_heads(
    groups: Sequence[ChannelGroup], scores: Mapping[str, Tensor], ratio: float, selection: Selection
) -> Kept:
    """Which whole heads stay: as many, rounded up, as the share of attention to keep; at least one a block.

    Args:
        groups: the groups of whole heads, one a block.
        scores: (heads,) by group name.
        ratio: share of the attention to cut.
        selection: `uniform` cuts equally in every block, all others rank the heads of all blocks.
    """
    if selection == "uniform":
        return {g.name: top(scores[g.name], math.ceil(g.size * (1 - ratio) - 1e-6)) for g in groups}
    normalised = {g.name: selections[selection](scores[g.name].double()) for g in groups}
    budget = math.ceil(sum(g.size for g in groups) * (1 - ratio) - 1e-6)
    ranked = sorted(((float(v), g.name, i) for g in groups for i, v in enumerate(normalised[g.name])), reverse=True)
    best = {(g.name, int(scores[g.name].argmax())) for g in groups}
    others = [(name, i) for _, name, i in ranked if (name, i) not in best]
    chosen = best | set(others[: max(0, budget - len(best))])
    return {g.name: torch.tensor(sorted(i for name, i in chosen if name == g.name)) for g in groups}


def ratio_inside_heads(whole: Sequence[ChannelGroup], cut: Sequence[ChannelGroup], ratio: float) -> float:
    """Share to cut from the channels of the heads that stayed, so that attention as a whole loses `ratio`.

    Args:
        whole: groups of whole heads before heads were cut.
        cut: the same groups after.
        ratio: share of the attention to cut.
    """
    left = sum(g.size for g in cut) / sum(g.size for g in whole)
    return max(0.0, 1 - (1 - ratio) / left)


def _families(groups: Sequence[ChannelGroup]) -> dict[str, list[ChannelGroup]]:
    families: dict[str, list[ChannelGroup]] = defaultdict(list)
    for group in groups:
        families[group.family].append(group)
    return families
