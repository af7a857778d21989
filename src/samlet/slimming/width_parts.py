"""The parts of an encoder whose widths are chosen apart: residual streams, and one kind of layer in one stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from samlet.models import ChannelGroup, ImageEncoder
from samlet.slimming.config import Selection
from samlet.slimming.selection import Kept, nearest_width, select, select_heads, top
from samlet.slimming.widths import Widths

Shares = dict[str, float]
"""Share of the channels that stays, by part."""


@dataclass(frozen=True)
class Part:
    """Groups that keep the same share.

    Attributes:
        name: `embedding 0` or `mlp 2`: the family and the stage.
        groups: the groups; whole heads among them.
    """

    name: str
    groups: tuple[ChannelGroup, ...]


def parts_of(encoder: ImageEncoder, kinds: Collection[str]) -> list[Part]:
    """The parts of an encoder.

    Args:
        encoder: the encoder.
        kinds: of the groups that are cut.
    """
    found: dict[str, list[ChannelGroup]] = {}
    for group in encoder.channel_groups():
        if group.kind in kinds:
            found.setdefault(f"{group.family} {group.stage}", []).append(group)
    return [Part(name, tuple(groups)) for name, groups in found.items()]


class Channels:
    """Which channels stay at a share, by scores of the uncut encoder.

    Args:
        parts: of the encoder.
        scores: (size,) by group name.
        selection: how the groups of a part share what stays; see `selection.SELECTIONS`.
    """

    def __init__(self, parts: Sequence[Part], scores: Mapping[str, Tensor], selection: Selection) -> None:
        self.parts, self._scores, self._selection = list(parts), scores, selection
        self._known: dict[tuple[str, float], Kept] = {}

    def kept(self, shares: Mapping[str, float]) -> Kept:
        """Sorted indices by group name; parts that are not named, or with a share of 1, stay whole."""
        found: Kept = {}
        for part in self.parts:
            share = shares.get(part.name, 1.0)
            if share < 1:
                found |= self._kept_of(part, share)
        return found

    def widths(self, shares: Mapping[str, float]) -> Widths:
        """Numbers of channels that stay, by group name."""
        return {name: len(channels) for name, channels in self.kept(shares).items()}

    def _kept_of(self, part: Part, share: float) -> Kept:
        key = part.name, share
        if key not in self._known:
            self._known[key] = self._choose(part, share)
        return self._known[key]

    def _choose(self, part: Part, share: float) -> Kept:
        heads = [g for g in part.groups if g.kind == "head"]
        inside = [g for g in part.groups if g.kind != "head"]
        scores, kept, ratio = self._scores, Kept(), 1 - share
        if heads:
            kept = select_heads(heads, scores, ratio, self._selection)
            left = sum(len(kept[g.name]) for g in heads) / sum(g.size for g in heads)
            ratio = max(0.0, 1 - share / left)
        if inside[0].kind == "embedding" or self._selection == "uniform":
            return kept | {g.name: top(scores[g.name], nearest_width(g.size * (1 - ratio), g)) for g in inside}
        return kept | select(inside, scores, {g.family: ratio for g in inside}, self._selection)
