"""The tables of docs/quantizing.md, from the JSON of benchmarks/quantization.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
PROMPTS = ("point", "box")


def _table(name: str) -> str:
    result = json.loads((RESULTS / f"quantization_{name}.json").read_text(encoding="utf-8"))
    lines = []
    for model, start in result["float"].items():
        rows: list[dict[str, Any]] = [row for row in result["rows"] if row["model"] == model]
        lines += [f"| {model} | metric | point mIoU | box mIoU |", "|---|---|--:|--:|"]
        lines.append(f"| float32 | | {' | '.join(f'{start[p]:.4f}' for p in PROMPTS)} |")
        for row in rows:
            cells = [f"{row['miou'][p]:.4f} ({-100 * row['drop'][p]:+.2f})" for p in PROMPTS]
            lines.append(f"| {row['name']} | {row['settings'].get('metric', 'hessian')} | {' | '.join(cells)} |")
        lines.append("")
    machine = result["machine"]
    where = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} of an {machine['processor']} CPU"
    source = f"`benchmarks/quantization.py {name}`: {result['protocol']}; {where}, torch {machine['torch']}."
    return "\n".join([*lines, f"In brackets points against float32. {source}"])


def _maker(name: str) -> Callable[[], str]:
    return lambda: _table(name)


TABLES = {f"quantization_{name}": _maker(name) for name in ("aim", "table")}
