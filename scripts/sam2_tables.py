"""The tables of docs/results/sam2.md, from the JSON of benchmarks/sam2.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_SETS = {"bsds500_val": "BSDS500", "coco100_train": "COCO"}


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"sam2_{name}.json").read_text(encoding="utf-8"))


def _source(name: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"`benchmarks/sam2.py {name}`: {result['protocol']}; {machine['threads']} threads of an "
        f"{machine['processor']} CPU, torch {machine['torch']}."
    )


def _title(column: str) -> str:
    for name, short in _SETS.items():
        column = column.replace(name, short)
    return column


def accuracy() -> str:
    """Both models at both sizes."""
    result = _read("accuracy")
    columns = list(next(iter(result["rows"].values()))["miou"])
    lines = [f"| | {' | '.join(map(_title, columns))} |", "|---|" + "--:|" * len(columns)]
    for name, row in result["rows"].items():
        cells = [f"{100 * row['miou'][c]['miou']:.1f}" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    half = max(
        (row["miou"][c]["ci"][1] - row["miou"][c]["ci"][0]) / 2 for row in result["rows"].values() for c in columns
    )
    note = f"No interval is wider than ±{100 * half:.1f} points. {_source('accuracy', result)}"
    return "\n".join([*lines, "", note])


def speed() -> str:
    """Seconds of the encoders and their ratios."""
    result = _read("speed")
    lines = [
        "| input | samlet, Hiera-T | transformers, Hiera-T | times as fast | mobile_sam |",
        "|---|--:|--:|--:|--:|",
    ]
    for size, row in result["rows"].items():
        own, theirs, mobile = (row["seconds"][name] for name in ("samlet", "transformers", "mobile_sam"))
        cells = [f"{own:.2f} s", f"{theirs:.2f} s", f"{theirs / own:.2f}", f"{mobile:.2f} s"]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _source("speed", result)])


def slimming() -> str:
    """Ratios beside the teacher and MobileSAM."""
    result, reference = _read("slimming"), _read("accuracy")["rows"]
    columns = list(next(iter(reference.values()))["miou"])
    lines = [
        f"| | input | parameters | MACs (modules) | agreement, raw | aligned | {' | '.join(map(_title, columns))} |",
        "|---|--:|--:|--:|--:|--:|" + "--:|" * len(columns),
    ]
    for name in ("mobile_sam", "sam2_hiera_tiny"):
        for size in ("1024", "512"):
            row = reference.get(f"{name} at {size}")
            if row is not None:
                cells = [f"{100 * row['miou'][c]['miou']:.1f}" for c in columns]
                lines.append(f"| {name} | {size} | | | | | {' | '.join(cells)} |")
    for ratio, row in sorted(result["rows"].items()):
        for size, miou in row["miou"].items():
            cells = [
                f"{row['parameters'] / 1e6:.1f} M",
                f"{row['macs_modules'] / 1e9:.1f} G",
                *("" if (value := row["agreement"][n]) is None else f"{value:.3f}" for n in ("pruned", "aligned")),
                *(f"{100 * miou[c]['miou']:.1f}" for c in columns),
            ]
            lines.append(f"| ratio {ratio} | {size} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _source("slimming", result)])


TABLES = {"sam2_accuracy": accuracy, "sam2_speed": speed, "sam2_slimming": slimming}
