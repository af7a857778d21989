"""The schedules of α, the weight of the features against the final embedding (SlimSAM, eqs. 6 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AlphaName = Literal["constant", "dynamic", "off"]
ALPHAS: dict[AlphaName, str] = {
    "constant": "0.5 in the first N epochs, then 0 (eq. 6, the paper's choice for bottlenecks)",
    "dynamic": "(N - n - 1) / N in epoch n of the first N, then 0 (eq. 8, the paper's choice for embeddings)",
    "off": "0, the final embedding alone",
}
"""What α does; after N epochs it is 0."""

_CONSTANT = 0.5


@dataclass(frozen=True, kw_only=True)
class Alpha:
    """α over a stage.

    Attributes:
        name: see `ALPHAS`.
        periods: N; a period is an epoch, or where `period_steps` is None a share of the first half of the stage, which
            is the same at the paper's 20 epochs a stage.
        period_steps: steps of a period.
    """

    name: AlphaName
    periods: int = 10
    period_steps: float | None = None

    def __call__(self, step: int, steps: int) -> float:
        """α at a step, counted from 0, of so many."""
        length = self.period_steps or steps / (2 * self.periods)
        period = int(step / length + 1e-9)
        if self.name == "off" or period >= self.periods:
            return 0.0
        return _CONSTANT if self.name == "constant" else (self.periods - period - 1) / self.periods
