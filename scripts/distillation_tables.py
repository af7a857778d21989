"""The tables of docs/results/distillation.md, from the JSON of benchmarks/distillation.py."""

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


def from_scratch() -> str:
    """What a student from scratch learns in minutes, in a paragraph."""
    result = json.loads((RESULTS / "from_scratch.json").read_text(encoding="utf-8"))
    kept, plain = result["rows"]
    ends, blind, machine = kept["held_out"], result["without_looking"], result["machine"]
    curve = ", ".join(f"{point['embedding']:.4f} after {point['step']}" for point in kept["curve"][1:])
    shares = [row["held_out"][when]["image_dependent_share"] for row in (kept, plain) for when in ("start", "end")]
    (first, *_, last), (*_, other) = kept["curve"], plain["curve"]
    return (
        f"{last['step']} steps, {kept['seconds'] / 60:.0f} minutes of {machine['threads']} thread of an "
        f"{machine['processor']} CPU: on photographs held out the distance of the embeddings is "
        f"{first['embedding']:.4f} at the start, {curve}. Without looking at the photograph "
        f"{blind['embedding']:.4f} would be reached; with PyTorch's own initialisation it ends at "
        f"{other['embedding']:.4f}. The squared error falls from {ends['start']['relative_error']:.3f} to "
        f"{ends['end']['relative_error']:.3f} of the variance (without looking {blind['relative_error']:.3f}, "
        f"PyTorch's own {plain['held_out']['end']['relative_error']:.3f}). Of the embedding's variance the photograph "
        f"decides {result['teacher']['image_dependent_share']:.3f} in the teacher, {shares[0]:.3f} in the student at "
        f"the start and {shares[1]:.3f} at the end, {shares[2]:.5f} and {shares[3]:.5f} with PyTorch's own. For masks "
        f"it is early: mIoU of boxes is {last['box']:.3f}, of points {last['point']:.3f}, where a student that never "
        f"looks has {other['box']:.3f} and {other['point']:.3f}.\n"
        f"`benchmarks/from_scratch.py`: {result['protocol']}."
    )


TABLES = {
    **{f"distillation_{name}": _maker(name) for name in ("ablation", "recovery", "prompts", "aim")},
    "distillation_from_scratch": from_scratch,
}
