"""The table of docs/how-to/hub.md, from what `benchmarks/hub_download.py` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

RESULT = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "hub_download.json"


def _failure(found: dict[str, float | None]) -> str:
    if found["seconds"] is None:
        return "–"
    return f"{found['seconds']:.1f} s, {found['lines']} line{'s' if found['lines'] != 1 else ''}"


def hub_download() -> str:
    """Both libraries: after a kill, without a network, undisturbed."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    names = {"samlet": "samlet", "huggingface_hub": f"huggingface_hub {result['huggingface_hub']}"}
    lines = [
        "| | fetched again after a kill half-way | nobody listens | host unknown | undisturbed |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, row in result["rows"].items():
        cells = [names[name], f"{row['continued']['share_again']:.0%}"]
        cells += [_failure(row["refused"]), _failure(row["unknown_host"]), f"{row['whole_s']:.1f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"`benchmarks/hub_download.py`: {result['protocol']}."])


TABLES: dict[str, Callable[[], str]] = {"hub_download": hub_download}
