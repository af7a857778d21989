"""The tables of docs/results/service.md, from the JSON of benchmarks/serving.py."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def serving() -> str:
    """What a service does under load."""
    result = json.loads((RESULTS / "serving.json").read_text(encoding="utf-8"))
    memory, machine = result["memory_bytes"], result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    lines = [
        "| requests | a second | failures | photograph, median (p99) | prompts, median (p99) | peak memory | growth |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    times = [f"{result[kind]['median']:.2f} s ({result[kind]['p99']:.2f} s)" for kind in ("photograph_s", "prompt_s")]
    cells = [
        str(result["requests"]),
        f"{result['requests_per_second']:.1f}",
        str(result["failures"]),
        *times,
        f"{memory['peak'] / 1e6:.0f} MB",
        f"{memory['growth'] - 1:+.1%}",
    ]
    return "\n".join(
        [
            *lines,
            f"| {' | '.join(cells)} |",
            "",
            f"`benchmarks/serving.py`: {result['protocol']}; {threads} of an {machine['processor']} CPU shared with "
            f"other work, torch {machine['torch']}. Prompts on a photograph that was gone: {result['gone']}; broken "
            f"photographs, all refused: {result['broken_refused']}.",
        ]
    )


TABLES = {"serving": serving}
