"""The tables of benchmarks/slimming_ablations.py and of benchmarks/budgets_met.py, for docs/results/slimming.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
Row = dict[str, Any]
_PARTS = {"criteria": "criterion, procedure", "aligning": "aligning", "schedules": "α", "photographs": "trained on"}
_BESIDE = {"schedules", "photographs"}  # of the first row of `aligning`
_MEASURES = {"error": "embedding error", "agreement": "agreement"}


def slimming_ablations() -> str:
    """Criteria, procedures, aligning and photographs, with intervals over seeds."""
    result = _read("slimming_ablations")
    rows: list[Row] = result["rows"]
    lines: list[str] = []
    for ratio in sorted({row["settings"]["ratio"] for row in rows}):
        for part, kind in _PARTS.items():
            for told, chosen in _ways(rows, part, ratio):
                base_part = "aligning" if part in _BESIDE else part
                there = [
                    row for name, found in _ways(rows, base_part, ratio) if name == told for row in found
                ] or chosen
                base = [row for row in there if row["name"] == there[0]["name"]]
                more = base if part in _BESIDE else []
                lines += [f"Ratio {ratio:g}, {told}:", "", *_against(kind, base, [*more, *chosen]), ""]
    machine = result["machine"]
    intervals = "± a 95 % interval over the seeds (Student's t); differences are from the first line, seed by seed"
    return "\n".join(
        [*lines, f"`benchmarks/slimming_ablations.py`: {result['protocol']}; {intervals}; {_hardware(machine)}."]
    )


def _ways(rows: Sequence[Row], part: str, ratio: float) -> Iterator[tuple[str, list[Row]]]:
    """Rows of a part and ratio, recovered and not, aligned and not, each in words; those that have all seeds."""
    there = [row for row in rows if (row["part"], row["settings"]["ratio"]) == (part, ratio)]
    seeds = len({row["settings"]["seed"] for row in rows})
    for way in dict.fromkeys(map(_way, there)):
        chosen = [row for row in there if _way(row) == way and len(_of(there, row["name"], way)) == seeds]
        if chosen:
            yield way, chosen


def _way(row: Row) -> str:
    settings = row["settings"]
    recovered = "recovered" if settings["recovery_images"] else "not recovered"
    return f"{recovered}, {settings['steps']} steps" if settings["steps"] else f"{recovered}, no step"


def _of(rows: Sequence[Row], name: str, way: str) -> list[Row]:
    return [row for row in rows if row["name"] == name and _way(row) == way]


def _against(kind: str, base: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """A line for each name, with the difference from the rows of the same seeds that others are compared with."""
    lines = _head(kind, *(cell for title in _MEASURES.values() for cell in (title, "difference")))
    before = {row["settings"]["seed"]: row for row in base}
    for name in dict.fromkeys(row["name"] for row in rows):
        found = [row for row in rows if row["name"] == name]
        cells = []
        for measure in _MEASURES:
            cells.append(_interval([row[measure] for row in found]))
            paired = [row[measure] - before[row["settings"]["seed"]][measure] for row in found]
            cells.append(_interval(paired, "+.3f") if any(paired) else "")
        lines.append(_line(name, *cells))
    return lines


def _interval(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and 95 % interval over seeds."""
    mean = format(statistics.fmean(values), form)
    if len(values) < 2:
        return mean
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean} ± {half:.3f}"


def budgets_met() -> str:
    """How near budgets are met and how much memory refitting takes, in sentences."""
    result = _read("budgets_met")
    parts = []
    if macs := result.get("macs"):
        asked = next(iter(macs.values()))["asked"]
        met = ", ".join(f"{found['reached']:.4f} ({family})" for family, found in macs.items())
        parts.append(f"Of {asked:g} of the multiply-accumulates the widths found have {met}.")
    if latency := result.get("latency"):
        low, high = min(latency["turns"]), max(latency["turns"])
        parts.append(
            f"Of {latency['asked']:g} of the time they take {latency['reached']:.3f} ({low:.3f} to {high:.3f} in "
            f"{len(latency['turns'])} turns) with {latency['share_of_macs']:.3f} of the multiply-accumulates."
        )
    if memory := result.get("memory"):
        peak = memory["peak_bytes"]
        parts.append(
            f"Refitting ViT-B on {memory['photographs']} pictures of {memory['image_size']} px takes "
            f"{peak[-1] / 1e9:.1f} GB of memory, from part {peak.index(peak[-1]) + 1} of {memory['parts']} on the same."
        )
    return f"{' '.join(parts)} (`benchmarks/budgets_met.py`: {result['protocol']}; {_hardware(result['machine'])}.)"


def _read(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def _hardware(machine: dict[str, Any]) -> str:
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return f"{threads} of an {machine['processor']} CPU, torch {machine['torch']}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|---|" + "--:|" * (len(cells) - 1)]


TABLES: dict[str, Callable[[], str]] = {"slimming_ablations": slimming_ablations, "budgets_met": budgets_met}
