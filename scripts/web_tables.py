"""The tables of docs/results/web.md, from the JSON of benchmarks/web.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compact_table import compact_table

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"web_{name}.json").read_text(encoding="utf-8"))


def _title(row: dict[str, Any]) -> str:
    return f"{row['model']}, {row['size']} px, {row['weights']}"


def speed() -> str:
    """What people wait for, and memory."""
    result, memory = _read("speed"), _read("memory")
    held = {(row["model"], row["size"], row["weights"]): row["page"] for row in memory["rows"]}
    head = ["", "first load", "first visit", "next visit", "first mask", "of 12 MP", "a click", "worst", "memory"]
    rows = [
        [
            f"{_title(row)}; {row['backend']}",
            f"{row['first_load_bytes'] / 1e6:.1f} MB",
            f"{row['first_visit_s']:.1f} s",
            f"{row['next_visit_s']:.1f} s",
            f"{row['first_mask_s']:.2f} s",
            f"{row['first_mask_large_s']:.2f} s",
            f"{1e3 * row['click_median_s']:.0f} ms",
            f"{1e3 * row['click_worst_s']:.0f} ms",
            f"{held[row['model'], row['size'], row['weights']] / 1e6:.0f} MB",
        ]
        for row in result["rows"]
    ]
    machine, first = result["machine"], result["rows"][0]
    found = {
        "first load within 15 MB": first["first_load_bytes"] <= 15e6,
        "first mask within 3 s": first["first_mask_s"] <= 3,
        "a click within 100 ms": first["click_median_s"] <= 0.1,
        "memory under 300 MB": held[first["model"], first["size"], first["weights"]] <= 300e6,
    }
    aims = "; ".join(f"{aim}: {'met' if met else 'missed'}" for aim, met in found.items())
    source = f"Aims, by the first row: {aims}.\n\n`benchmarks/web.py speed memory`: {result['protocol']}; memory: "
    source += f"{memory['protocol']}."
    source += f" {machine['processor']} CPU of two cores."
    return f"{compact_table(head, rows)}\n\n{source}"


def parts() -> str:
    """Where the time of the first row goes."""
    row = _read("speed")["rows"][0]
    found = row["everything"]
    head, rows = ["part", "time"], [[name, f"{1e3 * seconds:.0f} ms"] for name, seconds in row["parts_s"].items()]
    many = f"everything: {found['objects']} objects from {found['clicks']} clicks in {found['seconds']:.1f} s"
    return f"{compact_table(head, rows)}\n\n{_title(row)}; {row['backend']}; {many}."


def masks() -> str:
    """The page's masks beside PyTorch's."""
    result = _read("masks")
    rows = [
        [_title(row), f"{row['graph_bytes'] / 1e6:.1f} MB", f"{row['mean_iou']:.4f}", f"{row['worst_iou']:.4f}"]
        for row in result["rows"]
    ]
    count = result["rows"][0]["prompts"]
    source = f"`benchmarks/web.py masks`: {result['protocol']}; {count} prompts."
    return f"{compact_table(['', 'graphs', 'mask IoU', 'least'], rows)}\n\n{source}"


def confidence() -> str:
    """How sure models are of the masks of a grid of clicks."""
    result = json.loads((RESULTS / "confidence.json").read_text(encoding="utf-8"))
    head = ["", "predicted IoU", "stability", "sure", "likely", "any", "IoU of the likely with mobile_sam's"]
    rows = [
        [
            f"{row['model']}, {row['size']} px",
            *(f"{row[key][1]:.2f}, {row[key][2]:.2f}" for key in ("predicted_iou", "stability")),
            *(f"{row['pass'][key] / row['masks']:.0%}" for key in ("sure", "likely", "any")),
            f"{row['agreement_of_likely']:.2f}",
        ]
        for row in result["rows"]
    ]
    note = f"`benchmarks/confidence.py`: {result['protocol']}. Shown: median and 90 % quantile; shares of all masks."
    return f"{compact_table(head, rows)}\n\n{note}"


TABLES = {"web_confidence": confidence, "web_speed": speed, "web_parts": parts, "web_masks": masks}
