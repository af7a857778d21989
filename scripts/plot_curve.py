"""Draw docs/results/curve.png from benchmarks/results/slimming_curve.json: what is kept against what it costs.

python scripts/plot_curve.py [--result FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "slimming_curve.json"
PICTURE = ROOT / "docs" / "results" / "curve.png"

LINES = (
    ("agreement with the teacher", "#2f855a", "s"),
    ("box mIoU, BSDS500", "#2b6cb0", "o"),
    ("point mIoU, BSDS500", "#c05621", "^"),
)


def qualities(agreement: float, miou: dict[str, float]) -> tuple[float | None, ...]:
    """Values of one model, in the order of `LINES`."""
    return agreement, miou.get("bsds500_val_box"), miou.get("bsds500_val_point")


def figure(result: dict[str, Any]) -> Figure:
    """Quality against encoder MACs and, where it was measured, against latency."""
    from matplotlib.figure import Figure

    rows = sorted(result["rows"], key=lambda row: row["macs_modules"])
    values = [qualities(row["agreement"]["aligned"], row["miou"]) for row in rows]
    values.append(qualities(1.0, result["teacher"]["miou"]))
    names = [row["name"] for row in rows]
    costs = {
        "encoder multiply-accumulates (modules) at 1024 px, G": [
            macs / 1e9 for macs in [*(row["macs_modules"] for row in rows), result["teacher"]["macs_modules"]]
        ]
    }
    latency = result.get("latency_s", {})
    if {*names, "teacher"} <= latency.keys():
        machine = result["machine"]
        where = f"{machine['threads']} threads of an {machine['processor']} CPU"
        costs[f"encoder latency at 1024 px, ms, {where}"] = [1000 * latency[name] for name in [*names, "teacher"]]
    drawn = Figure(figsize=(6 * len(costs), 5), layout="constrained")
    panels = drawn.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (title, cost) in zip(panels, costs.items(), strict=True):
        _draw(axes, cost, values, names)
        axes.set_xlabel(title)
    panels[0].set_xscale("log")
    panels[0].xaxis.set_major_locator(_ticks())
    panels[0].xaxis.set_major_formatter("{x:g}")
    panels[0].minorticks_off()
    panels[0].set_ylabel("mean IoU")
    panels[0].set_ylim(0, 1.08)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return drawn


def write(result: dict[str, Any], path: Path) -> None:
    """Draw the figure into a PNG."""
    from samlet.reporting.plots import write_figure

    write_figure(figure(result), path)


def _ticks() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8))


def _draw(axes: Axes, cost: list[float], values: list[tuple[float | None, ...]], names: list[str]) -> None:
    """One panel; the last point is the teacher's, a star at the end of a dashed line."""
    for number, (label, colour, marker) in enumerate(LINES):
        line = [float("nan") if point[number] is None else float(point[number] or 0) for point in values]
        axes.plot(cost[:-1], line[:-1], color=colour, marker=marker, label=label)
        axes.plot(cost[-2:], line[-2:], color=colour, linestyle=":", linewidth=1)
        axes.plot(cost[-1], line[-1], color=colour, marker="*", markersize=14, linestyle="none")
    for x, point, name in zip(cost, values, [*names, "teacher"], strict=True):
        top = max(value for value in point if value is not None)
        axes.annotate(name, (x, top), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8)
    axes.set_title("figures over the points: ratio that was cut", fontsize=9, color="#4a5568")
    axes.margins(x=0.08)
    axes.grid(color="#e2e8f0", linewidth=0.6)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    write(json.loads(options.result.read_text(encoding="utf-8")), options.out)


if __name__ == "__main__":
    main()
