"""Timing models against each other by turns, so that a busy machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

_BUDGET_S = 20.0
_MOST, _LEAST = 9, 3


def interleaved(runs: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each, one call of each at a time, after a warm-up."""
    start = time.perf_counter()
    for run in runs.values():
        run()
    one_turn = max(time.perf_counter() - start, 1e-6)
    turns = max(_LEAST, min(_MOST, int(_BUDGET_S / one_turn)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in found.items()}
