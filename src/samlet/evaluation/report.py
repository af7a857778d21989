"""What evaluations and comparisons look like: JSON, text, Markdown, a scatter, and a sheet of the worst masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.evaluation.compare import Comparison, Row
from samlet.evaluation.detector import DetectorEvaluation
from samlet.evaluation.miou import Evaluation
from samlet.io.writing import new_file

_WIDE = 8  # times between the slowest and the fastest model from which the axis is logarithmic


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """An evaluation under the command line's keys."""
    return {
        "name": found.name,
        "protocol": found.protocol,
        "images": found.images,
        "masks": found.masks,
        "miou": {
            key: value
            for rule in found.miou
            for key, value in ((rule, found.miou[rule]), (f"{rule}_ci", list(found.intervals[rule])))
        },
        "miou_over_images": found.over_images,
        "by_size": {
            rule: {size: {"masks": count, "miou": value} for size, (count, value) in sizes.items()}
            for rule, sizes in found.by_size.items()
        },
        "recall": found.recall,
        "skipped": found.skipped,
        "seconds": found.seconds,
        "encode_s": found.encode_s,
        "prompts_s": found.prompts_s,
    }


def detector_json(found: DetectorEvaluation) -> dict[str, Any]:
    """A detector's evaluation under the command line's keys."""
    return {
        "name": found.name,
        "protocol": found.protocol,
        "images": found.images,
        "masks": found.detections,
        "ap": found.precision,
        "skipped": found.skipped,
        "seconds": found.seconds,
    }


def comparison_json(found: Comparison) -> dict[str, Any]:
    """A comparison under the command line's keys; a row's own keys are those of its first protocol."""
    return {
        "rows": [_row_json(row) for row in found.rows],
        "differences": [
            {
                "a": pair.a,
                "b": pair.b,
                "protocol": pair.protocol,
                "rule": pair.rule,
                "difference": pair.difference.mean,
                "ci": [pair.difference.low, pair.difference.high],
                "real": pair.difference.real,
            }
            for pair in found.differences
        ],
    }


def _row_json(row: Row) -> dict[str, Any]:
    protocols = {name: evaluation_json(evaluation) for name, evaluation in row.evaluations.items()}
    if row.detector is not None:
        protocols[row.detector.name] = detector_json(row.detector)
    first = {key: value for key, value in next(iter(protocols.values())).items() if key != "name"}
    costs: dict[str, Any] = {"parameters": None, "encoder": {"latency_s": row.encoder_s}}
    costs["decoder"] = {"latency_s": row.decoder_s}
    if row.cost is not None:
        costs = {
            "parameters": row.cost.parameters,
            "macs_modules": row.cost.macs_modules,
            "macs_total": row.cost.macs_total,
        }
        for part, seconds in (("encoder", row.encoder_s), ("decoder", row.decoder_s)):
            costs[part] = {**vars(getattr(row.cost, part)), "latency_s": seconds}
    return {
        "model": row.name,
        **first,
        **costs,
        "file_bytes": row.file_bytes,
        "file_storage": row.storage,
        "weights_bytes": row.weights_bytes,
        "peak_memory_bytes": row.peak_memory_bytes,
        "protocols": protocols,
    }


def comparison_rows(found: Comparison) -> list[tuple[str, ...]]:
    """The table: a head and a line a model; accuracies in percent with their 95 % interval."""
    head = [
        "MODEL",
        "PARAMETERS",
        "MACS (MODULES)",
        "MACS (TOTAL)",
        "ENCODER",
        "ONE PROMPT",
        "MEMORY",
        "FILE",
        "AS FLOAT32",
        "AS INT8",
    ]
    for evaluation in found.rows[0].evaluations.values():
        head += [f"{evaluation.name}: {rule}" for rule in evaluation.miou]
    if found.rows[0].detector is not None:
        head += [f"box-detector: {rule} AP" for rule in found.rows[0].detector.precision]
    return [tuple(head), *(_cells(row) for row in found.rows)]


def _cells(row: Row) -> tuple[str, ...]:
    cells = [row.name, *["–"] * 3]
    if row.cost is not None:
        cells[1:] = [
            f"{row.cost.parameters / 1e6:.2f} M",
            f"{row.cost.macs_modules / 1e9:.1f} G",
            f"{row.cost.macs_total / 1e9:.1f} G",
        ]
    cells += ["–" if s is None else f"{1000 * s:.0f} ms" for s in (row.encoder_s, row.decoder_s)]
    cells.append("–" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.0f} MB")
    stored = f", {row.storage}" if row.storage else ""
    cells.append("–" if row.file_bytes is None else f"{row.file_bytes / 1e6:.1f} MB{stored}")
    sizes = row.weights_bytes or {}
    cells += [f"{sizes[store] / 1e6:.1f} MB" if store in sizes else "–" for store in ("float32", "int8")]
    for evaluation in row.evaluations.values():
        for rule, value in evaluation.miou.items():
            low, high = evaluation.intervals[rule]
            cells.append(f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    if row.detector is not None:
        cells += [f"{100 * values['AP']:.1f}" for values in row.detector.precision.values()]
    return tuple(cells)


def difference_lines(found: Comparison) -> list[str]:
    """What the paired bootstrap says, a line a pair."""
    lines = []
    for pair in found.differences:
        d = pair.difference
        told = f"{pair.a} {'better' if d.mean > 0 else 'worse'} than {pair.b}" if d.real else "no telling apart"
        lines.append(
            f"{pair.protocol}, {pair.rule}: {pair.a} less {pair.b} {100 * d.mean:+.1f} points "
            f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]: {told}"
        )
    return lines


def markdown(found: Comparison) -> str:
    """The comparison as Markdown."""
    head, *rows = comparison_rows(found)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
    protocols = [evaluation.protocol for evaluation in found.rows[0].evaluations.values()]
    if found.rows[0].detector is not None:
        protocols.append(found.rows[0].detector.protocol)
    notes = "Accuracies in percent, with the 95 % bootstrap interval over images in brackets."
    told = "\n".join(f"- {line}" for line in (*protocols, *difference_lines(found)))
    data = f"Data: {found.data}. " if found.data else ""
    return "\n".join(lines) + f"\n\n{data}{notes}\n\n{told}\n"


def write_scatter(found: Comparison, path: Path) -> None:
    """Accuracy against latency of encoder and one prompt, the first protocol and its first rule, as PNG.

    Models that were not timed are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    name = next(iter(found.rows[0].evaluations))
    rule = next(iter(found.rows[0].evaluations[name].miou))
    times = []
    for row in found.rows:
        if row.encoder_s is None or row.decoder_s is None:
            continue
        evaluation = row.evaluations[name]
        x, y = 1000 * (row.encoder_s + row.decoder_s), 100 * evaluation.miou[rule]
        low, high = (100 * value for value in evaluation.intervals[rule])
        axes.errorbar([x], [y], yerr=[[max(y - low, 0)], [max(high - y, 0)]], fmt="o", color="#2b6cb0", capsize=3)
        axes.annotate(row.name, (x, max(high, y)), xytext=(0, 5), textcoords="offset points", fontsize=9, ha="center")
        times.append(x)
    if max(times, default=0) > _WIDE * min(times, default=1):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
    else:
        axes.set_xlim(0, 1.25 * max(times, default=1))
    axes.set_xlabel("encoder and one prompt, ms")
    axes.set_ylabel(f"mean IoU, {name}, {rule} mask, %")
    axes.grid(color="#e2e8f0", linewidth=0.6, which="both")
    axes.margins(y=0.12)
    if found.data:
        axes.set_title(f"{found.data}, {found.rows[0].evaluations[name].images} images", fontsize=11)
    FigureCanvasAgg(figure)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
