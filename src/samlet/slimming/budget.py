"""What a slimmed encoder may cost: a share of the teacher's, or an absolute figure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from samlet.errors import InputError

Quantity = Literal["macs", "latency", "parameters"]
QUANTITIES: dict[Quantity, str] = {
    "macs": "multiply-accumulates of the encoder's linear layers and convolutions at the model's own image size",
    "latency": "seconds of the encoder at the model's own image size",
    "parameters": "weights of the encoder",
}
"""What can be limited."""

_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_SECONDS = {"ms": 1e-3, "s": 1.0}
_EXAMPLES: dict[Quantity, str] = {"macs": "11.5G", "latency": "200ms", "parameters": "3M"}


@dataclass(frozen=True)
class Budget:
    """A limit.

    Attributes:
        quantity: see `QUANTITIES`.
        amount: a share of the teacher's encoder if `shared`, otherwise multiply-accumulates, seconds or weights.
        shared: whether the amount is a share.
    """

    quantity: Quantity
    amount: float
    shared: bool

    def of(self, teacher: float) -> float:
        """The absolute limit, given what the teacher's encoder costs."""
        return self.amount * teacher if self.shared else self.amount

    def __str__(self) -> str:
        if self.shared:
            return f"{self.amount:g} of the teacher's {self.quantity}"
        return f"{in_words(self.quantity, self.amount)} of {self.quantity}"


def in_words(quantity: Quantity, amount: float) -> str:
    """An amount with its unit."""
    if quantity == "latency":
        return f"{amount * 1000:.3g} ms"
    return f"{amount / 1e9:.3g} G" if amount >= 1e9 else f"{amount / 1e6:.3g} M"


def parse_budget(quantity: Quantity, value: float | str) -> Budget:
    """A limit from what a user wrote: 0.3, "11.5G", "200ms", "3M".

    Raises:
        InputError: neither a share between 0 and 1 nor an amount with its unit.
    """
    units = _SECONDS if quantity == "latency" else _COUNTS
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    unit = found[2] if found else ""
    if not unit and 0 < number < 1:
        return Budget(quantity, number, shared=True)
    if unit in units and number > 0 and math.isfinite(number) and (unit or number >= 1):
        return Budget(quantity, number * units[unit], shared=False)
    raise InputError(
        f"{quantity} is {value}; expected a share of the teacher's encoder between 0 and 1, such as 0.3, or an amount "
        f"such as {_EXAMPLES[quantity]}"
    )
