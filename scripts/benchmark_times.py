"""The table of benchmarks/README.md: the time that the committed results themselves recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def _seconds(content: Any) -> Iterator[float]:
    """All values of the key `seconds`, of runs and evaluations."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "seconds" and isinstance(value, int | float):
                yield value
            else:
                yield from _seconds(value)
    elif isinstance(content, list):
        for one in content:
            yield from _seconds(one)


def benchmark_times() -> str:
    """Sums of what each result file recorded, where that is a minute or more."""
    lines = ["| result | runs and evaluations in it | seconds they took together | on |", "|---|--:|--:|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found = list(_seconds(result))
        if sum(found) < 60:
            continue
        threads = result["machine"]["threads"]
        machine = f"{threads} thread{'s' if threads > 1 else ''} of an {result['machine']['processor']} CPU"
        lines.append(f"| `{path.name}` | {len(found)} | {sum(found):,.0f} | {machine} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {"benchmark_times": benchmark_times}
