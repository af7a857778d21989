"""Slimming to a budget: which part of an encoder is cut by how much.

Every part (a residual stream, or one kind of layer in one stage) is cut alone by a few shares and refitted, and the
error of the embedding is measured. With these curves, parts are cut greedily where a saving costs the least error,
until the budget is met. Errors of several cuts do not simply add up, so what was found is measured as a whole, beside
the even cut of the same cost and one half-way between the two; the best of the three is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samlet.slimming.probing import Curve
from samlet.slimming.selection import Kept
from samlet.slimming.width_parts import Channels, Shares
from samlet.slimming.widths import Widths

LEVELS = 32
"""In how many equal shares a part is cut."""
_LEAST = 4  # of them that stay
_PROBED = (0.5, 0.25)  # shares that stay
_WORTH = 0.005  # of the whole cost: a part that saves less is left alone


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What a search found.

    Attributes:
        widths: channels that stay, by group.
        shares: that stay, by part.
        alone: error of each part cut alone, by part and by the share that stays.
        joint: error of each joint cut that was measured, by name; `even` cuts every part alike.
        chosen: name of the joint cut that was taken.
        cost: of the widths, in the unit of the budget.
        whole: cost of the uncut encoder.
    """

    widths: Widths
    shares: Shares
    alone: dict[str, dict[str, float]]
    joint: dict[str, float]
    chosen: str
    cost: float
    whole: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Search:
    """Finds the widths of a budget.

    Attributes:
        channels: which channels a share is.
        error: of what stays, measured.
        cost: of widths.
    """

    channels: Channels
    error: Callable[[Kept], float]
    cost: Callable[[Widths], float]

    @property
    def measurements(self) -> int:
        """How often an error is measured at most."""
        return len(self.names()) * len(_PROBED) + 3

    def __call__(self, target: float) -> Allocation:
        """The widths that cost the target, or as little less as they allow.

        Raises:
            Unreachable: no widths cost so little.
        """
        names, alike = self.names(), self._even(target)
        alone = {name: {f"{share:g}": self._error({name: share}) for share in _PROBED} for name in names}
        curves = {name: Curve([(1 - float(s), error) for s, error in found.items()]) for name, found in alone.items()}
        searched = cheapest(self._price, curves, target)
        tried = {"even": alike, "between": self._between(alike, searched, target), "searched": searched}
        return self._allocation(alone, tried, {name: self._error(shares) for name, shares in tried.items()})

    def names(self) -> list[str]:
        """Parts that save something."""
        whole, least = self.cost({}), _LEAST / LEVELS
        names = [part.name for part in self.channels.parts]
        return [name for name in names if whole - self._price({name: least}) > _WORTH * whole]

    def _price(self, shares: Mapping[str, float]) -> float:
        return self.cost(self.channels.widths(shares))

    def _error(self, shares: Mapping[str, float]) -> float:
        return self.error(self.channels.kept(shares))

    def even(self, target: float) -> Allocation:
        """The same share of every part, nothing measured but the joint cut.

        Raises:
            Unreachable: no widths cost so little.
        """
        shares = self._even(target)
        return self._allocation({}, {"even": shares}, {"even": self._error(shares)})

    def _even(self, target: float) -> Shares:
        names = self.names()
        least = self._price(dict.fromkeys(names, _LEAST / LEVELS))
        if target < least:
            raise Unreachable(least)
        return even(self._price, names, target)

    def _allocation(
        self, alone: dict[str, dict[str, float]], tried: Mapping[str, Shares], errors: dict[str, float]
    ) -> Allocation:
        chosen = min(errors, key=lambda name: errors[name])
        widths = self.channels.widths(tried[chosen])
        return Allocation(
            widths=widths,
            shares=tried[chosen],
            alone=alone,
            joint=errors,
            chosen=chosen,
            cost=self.cost(widths),
            whole=self.cost({}),
        )

    def _between(self, one: Shares, other: Shares, target: float) -> Shares:
        """Geometric means of two allocations, all scaled alike to cost the target."""
        means = {name: math.sqrt(share * other[name]) for name, share in one.items()}

        def scaled(factor: float) -> Shares:
            return {name: min(1.0, max(_LEAST / LEVELS, factor * mean)) for name, mean in means.items()}

        low, high = 0.0, 1 / min(means.values())
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if self._price(scaled(middle)) <= target else (low, middle)
        return scaled(low)


class Unreachable(Exception):  # noqa: N818 - becomes the one error that a user sees, with names and units
    """A target below what the smallest widths cost.

    Args:
        least: that cost.
    """

    def __init__(self, least: float) -> None:
        super().__init__(least)
        self.least = least


def cheapest(price: Callable[[Shares], float], curves: Mapping[str, Curve], target: float) -> Shares:
    """Shares that stay, cut greedily where a saving costs the least error, until the price is the target.

    Args:
        price: of shares, by part.
        curves: error by share, by part.
        target: the price to reach; what is found is at most that, and as close as the widths allow.

    Raises:
        Unreachable: even the smallest widths cost more.
    """
    levels = dict.fromkeys(curves, LEVELS)

    def shares() -> Shares:
        return {name: level / LEVELS for name, level in levels.items()}

    def moves(now: float, down: bool) -> list[tuple[float, str, int, float]]:
        """The next level of each part at which the price changes: (error a saving, part, level, price)."""
        found, current = [], shares()
        for name, level in levels.items():
            for other in range(level - 1, _LEAST - 1, -1) if down else range(level + 1, LEVELS + 1):
                then = price({**current, name: other / LEVELS})
                if (then < now) if down else (then > now):
                    change = curves[name](other / LEVELS) - curves[name](level / LEVELS)
                    found.append((change / (now - then), name, other, then))
                    break
        return found

    now = price(shares())
    while now > target:
        found = moves(now, down=True)
        if not found:
            raise Unreachable(now)
        _, name, levels[name], now = min(found)
    while True:  # what the last cut saved too much is given back where it brings the most
        fitting = [move for move in moves(now, down=False) if move[3] <= target]
        if not fitting:
            return shares()
        _, name, levels[name], now = max(fitting)


def even(price: Callable[[Shares], float], names: list[str], target: float) -> Shares:
    """The same share of every part that costs the target, or as little less as the widths allow."""
    low, high = _LEAST / LEVELS, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if price(dict.fromkeys(names, middle)) <= target else (low, middle)
    return dict.fromkeys(names, low)
