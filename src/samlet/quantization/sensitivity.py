"""Mixed precision: which layers get how many bits."""

from __future__ import annotations

from collections.abc import Mapping

from samlet.errors import InputError
from samlet.quantization.config import WIDTHS
from samlet.quantization.search import Found


def choose_widths(found: Mapping[str, Mapping[int, Found]], budget: float) -> dict[str, int]:
    """Bits of every layer, so that their average, weighted by multiply-accumulates, keeps to a budget.

    All begin with the fewest; then the step that saves the most of the loss for each bit it costs is taken, as long as
    it fits.

    Args:
        found: of every layer the search's result by bits, one for each of `config.WIDTHS`.
        budget: bits on average.

    Raises:
        InputError: the budget is below the fewest bits.
    """
    if budget < WIDTHS[0]:
        raise InputError(f"mixed is {budget:g} bits on average; expected at least {WIDTHS[0]}")
    macs = {name: max(by_width[WIDTHS[0]].macs, 1.0) for name, by_width in found.items()}
    left = (budget - WIDTHS[0]) * sum(macs.values())
    chosen = dict.fromkeys(found, WIDTHS[0])
    while True:
        steps = [
            ((found[name][now].loss - found[name][wider].loss) / ((wider - now) * macs[name]), name, wider)
            for name, now in chosen.items()
            for wider in WIDTHS
            if wider > now and (wider - now) * macs[name] <= left and found[name][wider].loss < found[name][now].loss
        ]
        if not steps:
            return chosen
        _, name, wider = max(steps, key=lambda step: (step[0], step[1]))
        left -= (wider - chosen[name]) * macs[name]
        chosen[name] = wider
