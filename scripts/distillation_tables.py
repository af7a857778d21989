"""The tables of docs/distilling.md, from the JSON of benchmarks/distillation.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_COLUMNS = {
    "bsds500_val_point": "BSDS500 point",
    "bsds500_val_box": "box",
    "coco100_train_point": "COCO point",
    "coco100_train_box": "box",
}


def _table(name: str) -> str:
    result = json.loads((RESULTS / f"distillation_{name}.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = result["rows"]
    lines = []
    groups = dict.fromkeys((_group(name, row), row["settings"].get("labels")) for row in rows)
    for group, labels in groups:
        chosen = [row for row in rows if (_group(name, row), row["settings"].get("labels")) == (group, labels)]
        shown = [column for column in _COLUMNS if column in chosen[0]["miou"]["start"]]
        told = {"masks": "with masks", "teacher": "without labels"}[labels]
        lines += [f"| {group}, {told} | {' | '.join(_COLUMNS[c] for c in shown)} |"]
        lines += ["|---|" + "--:|" * len(shown)]
        if name != "recovery":
            start = chosen[0]["miou"]["start"]
            lines.append(f"| start | {' | '.join(f'{start[c]:.4f}' for c in shown)} |")
        for row in chosen:
            cells = [f"{row['miou']['end'][c]:.4f}" for c in shown]
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, f"`benchmarks/distillation.py {name}`: {result['protocol']}."])


def _group(table: str, row: dict[str, Any]) -> str:
    return "from raw pruned weights" if table == "recovery" else f"from {row['student']}"


def _maker(name: str) -> Callable[[], str]:
    return lambda: _table(name)


TABLES = {f"distillation_{name}": _maker(name) for name in ("ablation", "recovery", "prompts", "aim")}
