"""What a quantization shows: a table of the error of every layer, pictures, a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from samlet.data.datasets import plain_images
from samlet.data.images import fingerprint, is_readable, read_image
from samlet.evaluation.miou import evaluate
from samlet.inference import Predictor
from samlet.io.writing import new_file
from samlet.quantization.assembly import OUTLIER_DB, LayerReport
from samlet.quantization.config import METRICS, SCHEMES
from samlet.quantization.pipeline import Quantized
from samlet.reporting import markdown
from samlet.reporting.contact_sheet import DIFFERENCE, Cell, sheet_of
from samlet.reporting.plots import GRID, figure_image
from samlet.reporting.result import RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 4
_PLACES = ((0.5, 0.5), (0.25, 0.5), (0.75, 0.5), (0.5, 0.25), (0.5, 0.75))
_COLOURS = {
    "linear": "#2b6cb0",
    "convolution": "#2f855a",
    "transposed convolution": "#276749",
    "attention": "#c05621",
    "product": "#6b46c1",
}
_WORST = 5
_MEASURED = 8  # photographs that agreement is measured on


def to_json(run: Quantized) -> dict[str, Any]:
    """The figures under the names of the command line's contract."""
    layers = []
    for layer in run.layers:
        found = dataclasses.asdict(layer)
        found["bits"] = {"weights": found.pop("weights"), "inputs": found.pop("inputs")}
        layers.append(found)
    return {
        "layers": layers,
        "average_bits": run.average_bits,
        "out_of_line": [layer.name for layer in run.layers if layer.out_of_line],
        "photographs": {
            "calibrated_on": [path.name for path in run.photographs],
            "skipped": sorted(path.name for path in run.skipped),
        },
        "image_size": run.image_size,
        "agreement": None
        if run.agreement is None
        else {
            "single": run.agreement.miou["single"],
            "protocol": run.agreement.protocol,
            "images": run.agreement.images,
            "masks": run.agreement.masks,
            "calibrated_on": run.calibrated_on,
        },
        "seconds": run.seconds,
    }


def measured(run: Quantized, photographs: Sequence[Path]) -> Quantized:
    """The run with the agreement of its masks with the float model's.

    Args:
        run: what was done.
        photographs: that there are; some that were not calibrated on are taken, or those where there are no others.
    """
    used = {*run.photographs, *run.skipped}
    others = [path for path in photographs if path not in used and is_readable(path)][:_MEASURED]
    dataset = plain_images("photographs", others or run.photographs)
    found = evaluate(
        run.sam, dataset, "point", reference=run.origin, image_size=run.image_size, rules=("single",), progress=True
    )
    return dataclasses.replace(run, agreement=found, calibrated_on=not others)


def agreement(run: Quantized) -> str:
    """The agreement in a sentence; '' where it was not measured."""
    if run.agreement is None:
        return ""
    where = "calibrated on, for want of others" if run.calibrated_on else "not calibrated on"
    return (
        f"Agreement with the float model: mean IoU {run.agreement.miou['single']:.3f}, "
        f"{run.agreement.protocol.partition(',')[0]}, {run.agreement.images} photographs {where}."
    )


def provenance(run: Quantized, model: str, images: str) -> dict[str, Any]:
    """Where the quantized model comes from; the names are for people, the fingerprints tell."""
    return {
        "method": "post-training quantization (TinySAM, section 3.3)",
        "parents": [{"name": model, "weights_sha256": run.origin.fingerprint()}],
        "data": {"name": images, "photographs": len(run.photographs), "sha256": fingerprint(run.photographs)},
        "recipe": run.config.to_dict(),
        "figures": to_json(run),
    }


def summary(run: Quantized) -> str:
    """One line: how many layers have how many bits."""
    counts: dict[str, int] = {}
    for layer in run.layers:
        name = "float" if layer.float_reason else f"W{layer.weights or '-'}A{layer.inputs or '-'}"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} layers {name}" for name, count in sorted(counts.items()))


def table(run: Quantized) -> str:
    """The layers of least signal over noise, and a summary."""
    worst = sorted((layer for layer in run.layers if layer.sqnr is not None), key=lambda layer: layer.sqnr or 0.0)
    lines = [f"{summary(run)}; {run.seconds:.0f} s", "", *_rows(worst[:_WORST])]
    if told := agreement(run):
        lines += ["", told]
    return "\n".join(lines)


def _rows(layers: list[LayerReport]) -> list[str]:
    cells = [("layer", "kind", "weights", "inputs", "error", "SQNR, dB", "")]
    for layer in layers:
        remark = f"float: {layer.float_reason}" if layer.float_reason else "out of line" if layer.out_of_line else ""
        cells.append(
            (
                layer.name,
                layer.kind,
                str(layer.weights or "-"),
                str(layer.inputs or "-"),
                "-" if layer.error is None else f"{layer.error:.2e}",
                "-" if layer.sqnr is None else f"{layer.sqnr:.1f}",
                remark,
            )
        )
    return markdown.table(cells)


def pictures(run: Quantized, data: str) -> dict[str, Callable[[], Image.Image]]:
    """What draws each picture; `data` is what to call the photographs."""
    return {
        "errors": lambda: figure_image(errors_figure(run)),
        "comparison": lambda: sheet_of(comparison(run), f"data: {data}, calibrated on; {DIFFERENCE}"),
    }


def result(run: Quantized, data: str, photographs: Sequence[Path], folder: Path | None = None) -> RunResult:
    """Figures and pictures for Python; the agreement is measured when figures are asked for, if it was not."""
    kept: list[Quantized] = []

    def whole_run() -> Quantized:
        if not kept:
            kept.append(run if run.agreement is not None else measured(run, photographs))
        return kept[0]

    found = RunResult(
        f"quantized: {summary(run)}",
        lambda: to_json(whole_run()),
        lambda: table(whole_run()),
        pictures(run, data),
        folder,
    )
    if run.agreement is not None:
        _ = found.figures
    return found


def write(run: Quantized, folder: Path, data: str = "the folder") -> None:
    """Write `report.md` and its pictures beside the model: `errors.png`, `comparison.png`."""
    for name, draw in pictures(run, data).items():
        with new_file(folder / f"{name}.png") as temporary:
            draw().save(temporary, format="PNG")
    config = run.config
    bits = f"mixed, {config.mixed:g} bits on average" if config.mixed else f"W{config.weights}A{config.activations}"
    if config.weight_group is not None:
        bits += f", scales of weights for every {config.weight_group} input channels"
    average = "" if run.average_bits is None else f" Inputs: {run.average_bits:.2f} bits on average, by MACs."
    outliers = [f"`{layer.name}`" for layer in run.layers if layer.out_of_line]
    named = f"Out of line ({OUTLIER_DB:g} dB below the median or more): {', '.join(outliers)}." if outliers else ""
    lines = [
        "# Quantization report",
        "",
        f"{bits}: {summary(run)}.{average}",
        "",
        f"Metric {config.metric}: {METRICS[config.metric]}. Scheme {config.scheme}: {SCHEMES[config.scheme]}. "
        f"{len(run.photographs)} photographs without labels at {run.image_size} px, {config.prompts} prompts on each, "
        f"seed {config.seed}; {run.seconds:.0f} s.",
        "",
        "The arithmetic is float; weights and inputs are rounded as integers would be.",
        "",
        *([agreement(run), ""] if run.agreement is not None else []),
        "![masks of the float and of the quantized model](comparison.png)",
        "",
        "![signal over quantization noise by layer](errors.png)",
        "",
        *([named, ""] if named else []),
        "Error: squared error of a layer's output over the square of the output, weighted by the curvature of masks "
        "and predicted IoUs where that is the metric. SQNR: signal over quantization noise of the output, unweighted.",
        "",
        *_rows(run.layers),
        "",
    ]
    markdown.write_lines(folder / "report.md", lines)


def errors_figure(run: Quantized) -> Figure:
    """Signal over noise of every layer, in the order of the model."""
    from matplotlib.figure import Figure

    shown = [layer for layer in run.layers if layer.sqnr is not None]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots()
    for kind, colour in _COLOURS.items():
        places = [i for i, layer in enumerate(shown) if layer.kind == kind]
        if places:
            axes.scatter(places, [shown[i].sqnr or 0.0 for i in places], s=22, color=colour, label=kind, zorder=2)
    for i, layer in enumerate(shown):
        if layer.out_of_line:
            axes.annotate(layer.name, (i, layer.sqnr or 0.0), xytext=(4, -9), textcoords="offset points", fontsize=6.5)
    starts = {layer.name.partition(".")[0]: i for i, layer in reversed(list(enumerate(shown)))}
    for start in starts.values():
        axes.axvline(start - 0.5, color="black", linewidth=0.8, linestyle=":")
    ends = [*sorted(starts.values())[1:], len(shown)]
    middles = [(start + end - 1) / 2 for start, end in zip(sorted(starts.values()), ends, strict=True)]
    axes.set_xticks(middles, sorted(starts, key=lambda part: starts[part]), fontsize=8)
    axes.set_xlabel("layers, in the order of the model")
    axes.set_ylabel("signal over quantization noise, dB")
    axes.set_title(summary(run), fontsize=11)
    axes.grid(**GRID)
    figure.legend(loc="outside lower center", ncols=len(_COLOURS), fontsize=8, frameon=False)
    return figure


def comparison(run: Quantized) -> list[list[Cell]]:
    """The single mask for one click on some of the photographs, by both models."""
    predictors = {
        "float": Predictor(run.origin, run.image_size),
        "quantized": Predictor(run.sam, run.image_size),
    }
    rows = []
    for path in run.photographs[:_ROWS]:
        image = read_image(path)
        height, width = image.shape[:2]
        points = [[(x * width, y * height)] for x, y in _PLACES]
        answers = {}
        for name, predictor in predictors.items():
            predictor.set_image(image)
            answers[name] = predictor.predict(points=points, multimask=False)
        best = int(answers["float"].iou[:, 0].argmax())
        rows.append([Cell(name, image, answer.masks[best, 0], points[best]) for name, answer in answers.items()])
    return rows
