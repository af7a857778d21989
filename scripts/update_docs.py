"""Write the tables of README.md and docs/, the command-line reference, and docs/results/curve.png.

Tables come from the JSON that the benchmarks wrote, the reference from the parsers.

python scripts/update_docs.py [--check]; with --check nothing is written and the exit code says whether all is current.
A table stands between `<!-- NAME -->` and `<!-- end -->`; a document is filled where it has such markers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ablation_tables
import benchmark_times
import command_line_reference
import distillation_tables
import export_tables
import first_page_tables
import hub_tables
import paper_tables
import plot_curve
import quantization_tables
import result_index
import sam2_tables
import tool_tables
import web_tables

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ("README.md", "benchmarks/README.md", *_PAGES)
NOT_MEASURED = "(not measured yet)"
SETS = {"bsds500_val": "BSDS500", "coco100_train": "COCO"}

Row = dict[str, Any]


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _hardware(result: dict[str, Any]) -> str:
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return f"{threads} of an {machine['processor']} CPU, torch {machine['torch']}"


def _machine(result: dict[str, Any]) -> str:
    return f"{_hardware(result)}, float32"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> list[str]:
    """Header of a table whose first column is text and the others are figures."""
    return [_line(*cells), "|---|" + "--:|" * (len(cells) - 1)]


def _giga(count: int) -> str:
    return f"{count / 1e9:.1f} G"


def slimming() -> str:
    """Teacher and slimmed models, raw and aligned."""
    result = _read("slimming_curve")
    teacher, latency = result["teacher"], result.get("latency_s", {})
    lines = [
        "| encoder | parameters | MACs (modules) | latency | agreement, raw | aligned | point mIoU | box mIoU |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = [("teacher", teacher), *((f"ratio {row['name']}", row) for row in result["rows"])]
    for name, row in rows:
        agreement = row.get("agreement", {"pruned": 1.0, "aligned": 1.0})
        seconds = latency.get(name.removeprefix("ratio "))
        miou = [row["miou"].get(f"bsds500_val_{prompt}") for prompt in ("point", "box")]
        lines.append(
            _line(
                name,
                f"{row['parameters'] / 1e6:.2f} M",
                _giga(row["macs_modules"]),
                "" if seconds is None else f"{seconds * 1000:.0f} ms",
                f"{agreement['pruned']:.3f}",
                f"{agreement['aligned']:.3f}",
                *("" if value is None else f"{value:.3f}" for value in miou),
            )
        )
    note = (
        f"`benchmarks/slimming_tables.py curve`: {result['protocol']}. Latency: one image of 1024x1024 on "
        f"{_machine(result)}. mIoU: BSDS500 val."
    )
    return "\n".join([*lines, "", note])


def speed() -> str:
    """The encoder against the straightforward tree."""
    result = _read("encoder_speed")
    median = result["median_s"]
    return (
        f"MobileSAM's encoder takes {median['samlet']:.2f} s an image where the straightforward module tree takes "
        f"{median['plain']:.2f} s: {result['ratio_of_medians']:.1f} times as fast, with the same embedding to "
        f"{result['largest_difference']:.0e} (`benchmarks/encoder_speed.py`: {result['protocol']}; {_machine(result)})."
    )


def baseline() -> str:
    """mIoU of mobile_sam, float and embedded."""
    result = _read("baseline")
    lines = [
        "| weights | data | prompt | single | best predicted | oracle of three | masks |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for weights in ("float32", "embedded int8"):
        for data, prompts in result[weights].items():
            for prompt, found in prompts.items():
                values = " | ".join(f"{found['miou'][rule]:.4f}" for rule in ("single", "best", "oracle"))
                lines.append(f"| {weights} | {data} | {prompt} | {values} | {found['masks']} |")
    return "\n".join([*lines, "", f"`benchmarks/baseline.py`: {result['protocol']}."])


def input_sizes() -> str:
    """mIoU at several image sizes."""
    result = _read("input_sizes")
    lines = ["| model | input | encoder MACs | point | box |", "|---|--:|--:|--:|--:|"]
    for row in result["rows"]:
        scores = [
            "{:.3f} [{:.3f}, {:.3f}]".format(row[name]["miou"], *row[name]["ci"]) for name in ("sa1b-point", "box")
        ]
        size = f"{row['image_size']} px"
        lines.append(f"| {row['model']} | {size} | {row['encoder_macs'] / 1e9:.1f} G | {' | '.join(scores)} |")
    return "\n".join([*lines, "", f"`benchmarks/input_sizes.py`: {result['protocol']}."])


def costs() -> str:
    """Counted and published multiply-accumulates."""
    result = _read("published_costs")

    def cell(counted: int, published: float | None) -> str:
        if published is None:
            return f"{counted / 1e9:.1f} G | | "
        return f"{counted / 1e9:.1f} G | {published:g} G | {counted / 1e9 / published - 1:+.1%}"

    lines = [
        "| model | parameters | in print | modules | SlimSAM prints | | total | TinySAM prints | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in result["models"].items():
        modules = cell(row["macs_modules"], row["published_modules_g"])
        size = f"{row['parameters'] / 1e6:.2f} M | {row['published_parameters_m']:g} M"
        lines.append(f"| {name} | {size} | {modules} | {cell(row['macs_total'], row['published_total_g'])} |")
    return "\n".join([*lines, "", f"`benchmarks/published_costs.py`: {result['protocol']}."])


def slimming_importance() -> str:
    """Criteria by procedure, a table for each ratio; then the rows of several seeds."""
    result = _read("slimming_importance")
    first = [row for row in result["rows"] if row["settings"].get("seed", 0) == 0]
    lines = []
    for ratio in _ratios(first):
        chosen = [row for row in first if row["settings"]["ratio"] == ratio]
        procedures = list(dict.fromkeys(row["settings"].get("procedure", "alternate") for row in chosen))
        columns = [
            (f"{procedure}: {title}", _of(procedure, measure))
            for procedure in procedures
            for title, measure in (("agreement", _agreement), ("embedding error", _error))
        ]
        lines += [f"Ratio {ratio:g}:", "", *_compare("criterion", [_teacher(result), *chosen], columns), ""]
    return "\n".join([*lines, *_seeds(result["rows"]), *_source(result)])


def _seeds(rows: Sequence[Row]) -> list[str]:
    """Mean and spread of the settings that were run with several seeds."""
    groups: dict[tuple[str, float, str], list[Row]] = {}
    for row in rows:
        settings = row["settings"]
        groups.setdefault((row["name"], settings["ratio"], settings.get("procedure", "alternate")), []).append(row)
    lines = []
    for (name, ratio, procedure), members in groups.items():
        if len(members) > 1:
            cells = [name, f"{ratio:g}", procedure, str(len(members))]
            for values in (
                [row["agreement"]["aligned"] for row in members],
                [list(row["embedding_error"].values())[-1] for row in members],
            ):
                cells += (
                    [f"{sum(values) / len(values):.3f}", f"{max(values) - min(values):.3f}"] if values else ["", ""]
                )
            lines.append(_line(*cells))
    if not lines:
        return []
    head = _head(
        "criterion", "ratio", "procedure", "seeds", "agreement, mean", "spread", "embedding error, mean", "spread"
    )
    return ["Over several seeds; spread: largest less smallest:", "", *head, *lines, ""]


def slimming_selection() -> str:
    """Normalisations of the ranking, a table for each ratio."""
    return _by_ratio("slimming_selection", "selection")


def slimming_switches() -> str:
    """What samlet adds to the paper, each alone and together, a table for each ratio."""
    return _by_ratio("slimming_switches", "variant")


def _by_ratio(name: str, kind: str) -> str:
    result = _read(name)
    columns: list[Column] = [("encoder MACs", _macs), ("embedding error", _error), ("agreement", _agreement)]
    lines = []
    for ratio in _ratios(result["rows"]):
        chosen = [row for row in result["rows"] if row["settings"]["ratio"] == ratio]
        rows = [_teacher(result), *chosen]
        lines += [f"Ratio {ratio:g}:", "", *_compare(kind, rows, columns), ""]
    return "\n".join([*lines, *_source(result)])


def slimming_curve() -> str:
    """Ratio against cost and quality, the teacher first, losses in points."""
    picture = "![mIoU and agreement against multiply-accumulates and latency](curve.png)"
    return f"{picture}\n\n{_by_cost('slimming_curve')}"


def slimming_longer() -> str:
    """The paper's ratios with more steps."""
    return _by_cost("slimming_longer")


def _by_cost(name: str) -> str:
    result = _read(name)
    reference, latency = result["teacher"], result.get("latency_s", {})
    columns = [(data, prompt) for data in SETS for prompt in ("point", "box")]

    def line(name: str, row: Row) -> str:
        cells = [name, f"{row['parameters'] / 1e6:.2f} M", _giga(row["macs_modules"]), _giga(row["macs_total"])]
        if latency:
            cells.append(f"{latency[name] * 1000:.0f} ms")
        cells.append(_agreement(row))
        for data, prompt in columns:
            value, full = (r["miou"].get(f"{data}_{prompt}") for r in (row, reference))
            lost = "" if row is reference or value is None or full is None else f" ({100 * (value - full):+.1f})"
            cells.append("" if value is None else f"{value:.3f}{lost}")
        return _line(*cells)

    names = [f"{SETS[data]} {prompt}" for data, prompt in columns]
    costs = ["parameters", "MACs (modules)", "MACs (total)", *(["latency"] if latency else [])]
    head = _head("ratio", *costs, "agreement", *names)
    rows = [line("teacher", reference), *(line(row["name"], row) for row in result["rows"])]
    timed = f" Latency: one image of 1024x1024, float32, on {_hardware(result)}." if latency else ""
    note = (
        f"Parameters and costs are the encoder's.{timed} BSDS500, COCO: mIoU, in brackets the difference from the "
        "teacher in points."
    )
    return "\n".join([*head, *rows, "", note, "", *_source(result)])


def slimming_budgets() -> str:
    """Searched widths beside the even cut of the same cost, for every number of steps that was run."""
    lines: list[str] = []
    for path in sorted(
        RESULTS.glob("slimming_budgets_*.json"), key=lambda path: json.loads(path.read_text())["budget"]["steps"]
    ):
        result = _read(path.stem)
        steps = result["budget"]["steps"]
        columns: list[Column] = [("encoder MACs", _macs), ("embedding error", _error), ("agreement", _agreement)]
        rows = [_teacher(result), *result["rows"]]
        lines += [f"After {steps} steps:", "", *_compare("budget, widths", rows, [*columns, *_miou_columns()]), ""]
        lines += [*_against_the_curve(result), *_source(result), ""]
    if not lines:
        raise FileNotFoundError("slimming_budgets")
    return "\n".join(lines[:-1])


def _against_the_curve(result: dict[str, Any]) -> list[str]:
    """Points of COCO boxes that searched widths gain over the curve's row of the nearest cost, after as many steps."""
    curve = _read("slimming_curve")
    if any(curve["budget"][name] != result["budget"][name] for name in ("steps", "image_size", "limit")):
        return []
    gains = []
    for row in result["rows"]:
        old = min(curve["rows"], key=lambda other: abs(other["macs_modules"] - row["macs_modules"]))
        gain = row["miou"]["coco100_train_box"] - old["miou"]["coco100_train_box"]
        gains.append(f"{100 * gain:+.1f} ({row['name']}, against {old['name']})")
    return [
        f"Against the curve above, which cuts evenly and refits on 16 photographs, COCO boxes gain {', '.join(gains)}.",
        "",
    ]


def recovery() -> str:
    """Views, one cut or two, and refitting again after some steps."""
    result = _read("recovery")
    lines = _head("variant", "embedding error", "agreement", "seconds")
    for row in result["rows"]:
        seconds = "" if row["seconds"] < 1 else f"{row['seconds']:.0f}"
        lines.append(_line(row["name"], f"{row['error']:.3f}", f"{row['agreement']:.3f}", seconds))
    return "\n".join([*lines, "", f"`benchmarks/recovery.py`: {result['protocol']}; {_hardware(result)}."])


def attention_training() -> str:
    """Attention over few keys as two products, while training in bfloat16."""
    result = _read("attention_training")
    models = ", ".join(f"{found['ratio']:.2f} ({name})" for name, found in result["models"].items())
    windows = ", ".join(f"{found['ratio']:.1f} ({name})" for name, found in result["windows"].items())
    return (
        "On a CPU, PyTorch's fused attention is slow in the backward pass of small windows in bfloat16. samlet "
        "computes the two products of attention one after the other there. A step of training an encoder is so many "
        f"times as fast as with the fused kernel: {models}. Attention alone, forward and backward: {windows} "
        f"(`benchmarks/attention_training.py`: {result['protocol']}; {_hardware(result)})."
    )


def aligning_speed() -> str:
    """samlet's aligning stages against a plain loop."""
    result = _read("aligning_speed")
    stages = ("bottleneck", "embedding")
    ours, plain = (
        " and ".join(f"{result[variant][stage]['images_per_second']:.2f}" for stage in stages)
        for variant in ("samlet", "plain")
    )
    more = "".join(
        f"; {found['speed_ratio']:.2f} times as fast with {name.rpartition('_')[2]} images at once"
        for name, found in result.get("more_ratios", {}).items()
    )
    return (
        f"Bottleneck and embedding aligning run at {ours} images a second where a plain loop runs at {plain}: "
        f"{result['speed_ratio']:.2f} times as fast over both stages{more}. The peak of memory is "
        f"{result['peak_ratio']:.2f} of the plain loop's, and what training adds to the models' own memory "
        f"{result['peak_increase_ratio']:.2f} (`benchmarks/aligning_speed.py`: {result['protocol']}; "
        f"{_hardware(result)})."
    )


def vit_heads() -> str:
    """Thin heads against whole heads at one ratio."""
    result = _read("vit_heads")
    names = {
        "teacher": "teacher",
        "uniform_50": "ratio 0.5, every head thinner",
        "uniform_77": "ratio 0.77, every head thinner (the published shape)",
        "whole_heads_uniform_77": "ratio 0.77, whole heads, as many in every block",
        "whole_heads_77": "ratio 0.77, whole heads, ranked over all blocks",
    }
    lines = _head("encoder of SAM ViT-B", "heads a block", "parameters", "MACs (modules)", "MACs (total)", "latency")
    for name, title in names.items():
        if name in result["encoders"]:
            row = result["encoders"][name]
            heads = sorted(set(row["config"]["num_heads"]))
            lines.append(
                _line(
                    title,
                    f"{heads[0]}" + f" to {heads[-1]}" * (len(heads) > 1),
                    f"{row['parameters'] / 1e6:.2f} M",
                    _giga(row["macs_modules"]),
                    _giga(row["macs_total"]),
                    f"{row['median_s'] * 1000:.0f} ms",
                )
            )
    return "\n".join([*lines, "", f"`benchmarks/vit_heads.py`: {result['protocol']}; {_hardware(result)}."])


Measure = Callable[[Row], str]
Column = tuple[str, Measure]


def _macs(row: Row) -> str:
    return _giga(row["macs_modules"])


def _error(row: Row) -> str:
    """Of the last stage."""
    return f"{list(row['embedding_error'].values())[-1]:.3f}" if row.get("embedding_error") else ""


def _agreement(row: Row) -> str:
    """Of the aligned model; the teacher agrees with itself."""
    return f"{row['agreement']['aligned'] if 'agreement' in row else 1.0:.3f}"


def _miou_columns() -> list[Column]:
    """`point / box` for each set of photographs with human masks."""

    def pair(data: str) -> Measure:
        def both(row: Row) -> str:
            found = [row["miou"].get(f"{data}_{prompt}") for prompt in ("point", "box")]
            return "" if None in found else " / ".join(f"{value:.3f}" for value in found)

        return both

    return [(f"{title} point / box", pair(data)) for data, title in SETS.items()]


def _of(procedure: str, measure: Measure) -> Measure:
    def chosen(row: Row) -> str:
        settings = row.get("settings", {"procedure": procedure})  # the teacher has none and stands everywhere
        return measure(row) if settings.get("procedure", "alternate") == procedure else ""

    return chosen


def _compare(kind: str, rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """One line for every name; a cell is what the first of its rows that has the measure says."""
    lines = _head(kind, *(title for title, _ in columns))
    for name in dict.fromkeys(row["name"] for row in rows):
        members = [row for row in rows if row["name"] == name]
        cells = [next(filter(None, map(measure, members)), "") for _, measure in columns]
        lines.append(_line(name, *cells))
    return lines


def _teacher(result: dict[str, Any]) -> Row:
    return {"name": "teacher", **result["teacher"]}


def _ratios(rows: Sequence[Row]) -> list[float]:
    return sorted({row["settings"]["ratio"] for row in rows})


def _source(result: dict[str, Any]) -> list[str]:
    return [f"`benchmarks/slimming_tables.py`: {result['protocol']}."]


TINYSAM = {
    "grid 32": (0.6137, 1.779),
    "4/16, 8.5": (0.5521, 0.357),
    "8/32, 8.5": (0.6061, 0.930),
    "10/32, 8.5": (0.6078, 1.277),
    "8/32, 7.0": (0.6018, 0.815),
    "8/32, 10": (0.6067, 1.182),
}
"""mIoU and seconds on a V100 that TinySAM's paper prints for its own weights on 100 images of COCO val2017."""


def everything_speed() -> str:
    """Time of everything mode against a plain generator."""
    result = _read("everything_speed")
    lines = _head(
        "generator", "time", "times as fast as plain", "masks", "plain's masks found", "prompts", "peak memory"
    )
    for name, found in result["variants"].items():
        lines.append(
            _line(
                name,
                f"{found['seconds']:.1f} s",
                f"{found['ratio']:.1f}",
                str(found["masks"]),
                f"{found['found_at_0.9']:.0%}",
                str(found["prompts"]),
                f"{found['peak_memory_bytes'] / 1e9:.2f} GB",
            )
        )
    return "\n".join([*lines, "", f"`benchmarks/everything.py speed`: {result['protocol']}; {_hardware(result)}."])


def everything_recall() -> str:
    """What hierarchical settings keep of the grid."""
    result = _read("everything_recall")
    settings = result["settings"]
    full = settings["grid 32"]["best_iou"]
    lines = _head(
        "setting", "TinySAM prints: mIoU", "seconds", "here: mIoU", "points less than the grid", "prompts", "masks"
    )
    for name, found in settings.items():
        paper = TINYSAM.get(name)
        lines.append(
            _line(
                name,
                *((f"{paper[0]:.4f}", f"{paper[1]:.3f}") if paper else ("", "")),
                f"{found['best_iou']:.4f}",
                f"{100 * (full - found['best_iou']):.2f}",
                f"{found['prompts']:.0%}",
                f"{found['masks']:.1f}",
            )
        )
    return "\n".join([*lines, "", f"`benchmarks/everything.py recall`: {result['protocol']}; {_hardware(result)}."])


def comparison() -> str:
    """mobile_sam and two slimmed models side by side."""
    result = _read("comparison")
    parts = []
    for data, found in result["data"].items():
        protocols = list(found["rows"][0]["protocols"])
        head = [f"on {data}", "parameters", "MACs (modules)", "encoder", "memory", "file"]
        lines = _head(*head, *(f"{name}: {rule}" for name in protocols for rule in _TOLD[name]))
        for row in found["rows"]:
            cells = [
                row["model"].removesuffix(".safetensors"),
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['macs_modules'] / 1e9:.1f} G",
                f"{1000 * row['encoder']['latency_s']:.0f} ms",
                f"{row['peak_memory_bytes'] / 1e6:.0f} MB",
                f"{row['file_bytes'] / 1e6:.1f} MB",
            ]
            for name in protocols:
                miou = row["protocols"][name]["miou"]
                for rule in _TOLD[name]:
                    low, high = miou[f"{rule}_ci"]
                    cells.append(f"{100 * miou[rule]:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
            lines.append(_line(*cells))
        parts += [*lines, ""]
    return "\n".join([*parts, f"`benchmarks/comparison.py`: {result['protocol']}; {_hardware(result)}."])


_TOLD = {"sa1b-point": ("single", "best", "oracle"), "box": ("single", "best"), "point-3": ("best",)}


def detector() -> str:
    """AP of masks in the truth's boxes and in disturbed ones."""
    result = _read("detector")
    columns = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
    lines = _head("data", "boxes", "number", "AP of the boxes", "mask", *(name.replace("_", " ") for name in columns))
    for data, kinds in result["data"].items():
        for kind, found in kinds.items():
            for rule, precision in found["precision"].items():
                cells = [f"{100 * precision[name]:.1f}" if precision[name] >= 0 else "" for name in columns]
                told = [kind, str(found["boxes"]), f"{100 * found['box_ap']:.1f}"]
                lines.append(_line(data, *told, rule, *cells))
    return "\n".join([*lines, "", f"`benchmarks/detector.py`: {result['protocol']}; {_hardware(result)}."])


TABLES: dict[str, Callable[[], str]] = {
    "slimming": slimming,
    "speed": speed,
    "baseline": baseline,
    "costs": costs,
    "slimming_importance": slimming_importance,
    "slimming_selection": slimming_selection,
    "slimming_switches": slimming_switches,
    "slimming_curve": slimming_curve,
    "slimming_longer": slimming_longer,
    "slimming_budgets": slimming_budgets,
    "recovery": recovery,
    "input_sizes": input_sizes,
    "attention_training": attention_training,
    "aligning_speed": aligning_speed,
    "vit_heads": vit_heads,
    "everything_speed": everything_speed,
    "everything_recall": everything_recall,
    "comparison": comparison,
    "detector": detector,
    **ablation_tables.TABLES,
    **benchmark_times.TABLES,
    **command_line_reference.TABLES,
    **distillation_tables.TABLES,
    **export_tables.TABLES,
    **first_page_tables.TABLES,
    **hub_tables.TABLES,
    **paper_tables.TABLES,
    **result_index.TABLES,
    **quantization_tables.TABLES,
    **sam2_tables.TABLES,
    **web_tables.TABLES,
    **tool_tables.TABLES,
}


def fill(text: str) -> str:
    """Replace what stands between the markers that a text has."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        if start not in text:
            continue
        try:
            content = make()
        except FileNotFoundError:
            content = NOT_MEASURED
        before, _, rest = text.partition(start)
        text = f"{before}{start}{content}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Update or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    measured = plot_curve.RESULT.is_file()
    current = not measured or plot_curve.PICTURE.is_file()
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        filled = fill(text)
        current = current and filled == text
        if not options.check:
            (ROOT / name).write_text(filled, encoding="utf-8")
    if options.check:
        return int(not current)
    if measured:
        plot_curve.write(_read("slimming_curve"), plot_curve.PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
