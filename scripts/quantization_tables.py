"""The tables of docs/results/quantization.md, from quantization.py and quantization_layers.py in benchmarks/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samlet.evaluation.statistics import paired_difference

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
PROMPTS = ("point", "box")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _source(script: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    where = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} of an {machine['processor']} CPU"
    return f"`benchmarks/{script}`: {result['protocol']}; {where}, torch {machine['torch']}."


def _how(settings: dict[str, Any]) -> str:
    """The settings of a row but its bits, in words."""
    words = ["hessian, as drawn" if settings.get("shrinkage") == 0 else settings["metric"]]
    if "weight_group" in settings:
        words.append(f"groups of {settings['weight_group']}")
    words += ["log levels"] if settings.get("scheme") == "log" else []
    return ", ".join(words)


def _points(change: dict[str, float]) -> str:
    """A difference in points, with its interval where there is one."""
    interval = f" [{100 * change['low']:+.2f}, {100 * change['high']:+.2f}]" if "low" in change else ""
    return f"{100 * change['mean']:+.2f}{interval}"


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Most bits of weights first; of a row's bits the plain metrics before other quantizers."""
    settings = row["settings"]
    mixed = settings.get("mixed")
    bits = (mixed, mixed) if mixed else (settings["weights"], settings["activations"])
    metrics = ("hessian", "mse", "percentile", "minmax")
    others = (settings.get("shrinkage") == 0, "weight_group" in settings, settings.get("weight_group", 0))
    return -bits[0], -bits[1], mixed is not None, *others, "scheme" in settings, metrics.index(settings["metric"])


def _is_rival(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows differ in the metric alone, hessian against mse."""
    return "hessian_less_mse" in other and row["settings"] == {**other["settings"], "metric": "hessian"}


def _table(name: str) -> str:
    result = _read(f"quantization_{name}")
    diverges = any("divergence" in row for row in result["rows"])
    heads = ["mobile_sam", "metric", *(f"{prompt} mIoU" for prompt in PROMPTS), *(["divergence"] if diverges else [])]
    lines = [_line(*heads), f"|---|---|{'--:|' * (len(heads) - 2)}"]
    lines.append(_line("float32", "", *(f"{result['float'][p]:.4f}" for p in PROMPTS), *([""] if diverges else [])))
    for row in sorted(result["rows"], key=_order):
        cells = [f"{row['miou'][prompt]:.4f} ({_points(row['difference'][prompt])})" for prompt in PROMPTS]
        if diverges:
            each = row.get("divergence")
            cells.append(f"{1000 * sum(each) / len(each):.2f}" if each else "")
        lines.append(_line(row["name"], _how(row["settings"]), *cells))
    notes = ["In brackets points against float32."] + (["Divergence in thousandths of a nat."] if diverges else [])
    pairs = [(row, other) for row in result["rows"] for other in result["rows"] if _is_rival(row, other)]
    if pairs:
        heads = ["hessian less mse", *(f"{prompt} mIoU" for prompt in PROMPTS), "divergence"]
        lines += ["", _line(*heads), "|---|--:|--:|--:|"]
        for row, other in sorted(pairs, key=lambda pair: _order(pair[0])):
            values, others = ([[value] for value in one["divergence"]] for one in (row, other))
            change = paired_difference(values, others, seed=0)
            cells = [_points(other["hessian_less_mse"][prompt]) for prompt in PROMPTS]
            cells.append(f"{1000 * change.mean:+.2f} [{1000 * change.low:+.2f}, {1000 * change.high:+.2f}]")
            lines.append(_line(row["name"], *cells))
    return "\n".join([*lines, "", f"{' '.join(notes)} {_source(f'quantization.py {name}', result)}"])


def _layers() -> str:
    """Single layers: what the search foretells, and what happens."""
    result = _read("quantization_layers")
    kinds = [kind for kind in result["rows"][0] if isinstance(result["rows"][0][kind], dict)]
    heads = [
        "layer",
        "draws",
        "worth",
        *(f"{kind}: {what}" for kind in kinds for what in ("foretold", "hessian", "mse")),
    ]
    lines = [_line(*heads), f"|---|{'--:|' * (len(heads) - 1)}"]
    for row in result["rows"]:
        cells = [f"`{row['layer']}`", str(row["draws"]), f"{row['effective_draws']:.0f}"]
        for kind in kinds:
            by_metric = row[kind]
            values = (by_metric["hessian"]["foretold"], *(by_metric[name]["divergence"] for name in ("hessian", "mse")))
            cells += [f"{1000 * value:.3f}" for value in values]
        lines.append(_line(*cells))
    note = "Divergences in thousandths of a nat. Worth: so many draws of one size tell as much."
    return "\n".join([*lines, "", f"{note} {_source('quantization_layers.py', result)}"])


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _maker(name: str) -> Callable[[], str]:
    return lambda: _table(name)


TABLES = {f"quantization_{name}": _maker(name) for name in ("aim", "metrics")} | {"quantization_layers": _layers}
