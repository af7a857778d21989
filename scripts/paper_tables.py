"""SlimSAM's and TinySAM's tables beside ours, docs/results/papers.md.

A table has the figures that the paper prints, those of samlet by the paper's protocol (benchmarks/papers.py; empty
until it has been run), and those of samlet's own small runs on other photographs, where there is a comparable one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compact_table import compact_table

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

Value = float | None

SLIMSAM_MODELS = {
    "sam_vit_h": ("SAM-H", "641 M", "2736 G", "11 M", "90k", 78.30),
    "sam_vit_l": ("SAM-L", "312 M", "1315 G", "11 M", "180k", 77.67),
    "sam_vit_b": ("SAM-B", "93 M", "372 G", "11 M", "180k", 73.37),
    "fast_sam_s": ("FastSAM-s", "11 M", "37 G", "220k", "625k", 30.72),
    "fast_sam_x": ("FastSAM-x", "68 M", "330 G", "220k", "625k", 35.41),
    "mobile_sam": ("MobileSAM", "9.8 M", "40 G", "100k", "100k", 62.73),
    "efficient_sam_ti": ("EfficientSAM-t", "10 M", "28 G", "12.2 M", "450k", 69.42),
    "efficient_sam_s": ("EfficientSAM-s", "26 M", "94 G", "12.2 M", "450k", 71.19),
    "edge_sam": ("EdgeSAM", "9.6 M", "23 G", "100k", "50k", 65.96),
    "slimsam_50_uniform": ("SlimSAM-50", "26 M", "98 G", "10k", "100k", 72.33),
    "slimsam_77_uniform": ("SlimSAM-77", "9.1 M", "23 G", "10k", "200k", 67.40),
}
"""SlimSAM, its table of models: parameters, MACs (modules), training images, iterations, mIoU on SA-1B."""

SLIMSAM_CRITERIA = {
    "random": ("random", 71.03, 62.58),
    "magnitude": ("magnitude", 69.96, 61.60),
    "hessian": ("Hessian", 71.01, 63.56),
    "taylor": ("Taylor, with labels", 71.15, 64.26),
    "SlimSAM": ("disturbed Taylor", 72.33, 67.40),
}
"""SlimSAM, its table of criteria at equal training: mIoU at 50 % and at 77 %. From scratch: 1.63 and 1.34."""

SLIMSAM_ABLATIONS = {
    "one-step, taylor": ("one step, Taylor", 62.04, 70.02),
    "one-step, disturbed-taylor": ("one step, disturbed Taylor", 62.31, 70.33),
    "alternate, taylor": ("alternate, Taylor", 63.63, 70.42),
    "alternate, disturbed-taylor": ("alternate, disturbed Taylor", 64.48, 70.81),
    "step 1, alpha off": ("step 1, final embedding alone", 65.10, 70.86),
    "step 1, alpha constant": ("step 1, and bottlenecks, alpha constant", 66.32, 72.07),
    "step 1, alpha dynamic": ("step 1, and bottlenecks, alpha dynamic", 65.79, None),
    "step 2, alpha off": ("step 2, final embedding alone", 63.91, 70.52),
    "step 2, alpha constant": ("step 2, and embeddings, alpha constant", 63.63, None),
    "step 2, alpha dynamic": ("step 2, and embeddings, alpha dynamic", 64.48, 70.81),
    "ranking uniform": ("ranking: local", 64.38, 70.81),
    "ranking mean": ("ranking: global, mean", 63.64, 70.76),
    "ranking max": ("ranking: global, max", 64.35, 70.77),
    "ranking sum": ("ranking: global, sum", 63.55, 70.80),
    "ranking gaussian": ("ranking: global, gaussian", 64.48, 70.83),
    "ranking standardization": ("ranking: global, standardization", 64.14, 70.78),
}
"""SlimSAM's ablations: mIoU at 77 % and 40 epochs, and at 50 % and 20 epochs."""

SLIMSAM_DATA = {10_000: (72.33, 67.40), 5_000: (71.89, 64.47), 2_000: (69.79, 61.72)}
"""SlimSAM, photographs at equal iterations: mIoU at 50 % and at 77 %."""

TINYSAM_AP = {
    "sam_vit_h": ("SAM-H", "2976 G", "2392", 46.6, 44.7),
    "sam_vit_l": ("SAM-L", "1491 G", "1146", 46.2, 43.5),
    "sam_vit_b": ("SAM-B", "487 G", "369", 43.4, 40.8),
    "fast_sam_x": ("FastSAM", "443 G", "154", 37.9, 34.5),
    "efficient_sam_ti": ("EfficientSAM-Ti", "106 G", "81", 42.3, 39.9),
    "slimsam_77_uniform": ("SlimSAM-77", "51.7 G", "110", 41.3, 38.3),
    "mobile_sam": ("MobileSAM", "42.0 G", "38.4", 41.0, 37.0),
    "tinysam": ("TinySAM", "42.0 G", "38.4", 42.3, 38.9),
    "q_tinysam": ("Q-TinySAM (W8A8)", "20.3 G", "24.0", 41.4, 38.5),
}
"""TinySAM, masks in the boxes of ViTDet-H: MACs (total), milliseconds on a T4, COCO AP, LVIS AP."""

TINYSAM_MODULES = {"baseline": 40.7, "+ distillation": 41.4, "+ hard prompts": 41.9, "+ hard masks": 42.3}
"""TinySAM, what each module adds: COCO AP."""

TINYSAM_BITS = {
    "mobile_sam, float": ("MobileSAM, float32", 41.0),
    "mobile_sam, W8A8": ("MobileSAM, W8A8", 39.8),
    "mobile_sam, W6A6": ("MobileSAM, W6A6", 36.3),
    "tinysam, float": ("TinySAM, float32", 42.3),
    "tinysam, W8A8": ("TinySAM, W8A8", 41.4),
    "tinysam, W6A6": ("TinySAM, W6A6", 39.0),
}
"""TinySAM, bits: COCO AP."""

TINYSAM_EVERYTHING = {
    "mobile_sam, grid": ("MobileSAM, grid", 59.63, "1.672"),
    "mobile_sam, hierarchical": ("MobileSAM, hierarchical", 59.58, "0.846"),
    "sam_vit_h, grid": ("SAM-H, grid", 70.47, "2.455"),
    "sam_vit_h, hierarchical": ("SAM-H, hierarchical", 70.55, "1.354"),
    "tinysam, grid": ("TinySAM, grid", 61.37, "1.779"),
    "tinysam, hierarchical": ("TinySAM, hierarchical", 60.61, "0.930"),
}
"""TinySAM, everything mode on the first 100 images of COCO val2017: mIoU in percent, seconds on a V100."""


def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _reproduced(table: str, measure: Callable[[dict[str, Any]], float]) -> Callable[[str], str]:
    """The cell of a row by the paper's protocol; empty where it was not measured."""
    rows: dict[str, Any] = _read(f"papers_{table}").get("rows", {})
    return lambda name: f"{100 * measure(rows[name]):.2f}" if name in rows else ""


def _point(row: dict[str, Any]) -> float:
    return row["miou"]["single"]


def _ap(row: dict[str, Any]) -> float:
    return row["precision"]["best"]["AP"]


def _found(row: dict[str, Any]) -> float:
    return row["miou"]["best"]


def _number(value: Value, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _protocol(result: Mapping[str, Any], script: str) -> str:
    return f"Last columns: `benchmarks/{script}`: {result['protocol']}."


def slimsam_models() -> str:
    """Published models on SA-1B, and those measured here on other photographs."""
    costs, accuracy = _read("published_costs")["models"], _read("sam2_accuracy")
    here = {"mobile_sam": accuracy["rows"]["mobile_sam at 1024"]["miou"]["bsds500_val sa1b-point single"]["miou"]}
    ours = _reproduced("slimsam_models", _point)
    head = ["model", "parameters", "counted here", "MACs", "counted here", "images", "iterations", "mIoU, SA-1B"]
    rows = []
    for name, (title, parameters, macs, images, iterations, miou) in SLIMSAM_MODELS.items():
        counted = costs.get(name)
        size = f"{counted['parameters'] / 1e6:.1f} M" if counted else ""
        work = f"{counted['macs_modules'] / 1e9:.1f} G" if counted else ""
        other = f"{100 * here[name]:.1f}" if name in here else ""
        rows.append([title, parameters, size, macs, work, images, iterations, _number(miou), ours(name), other])
    table = compact_table([*head, "samlet, SA-1B", "samlet, BSDS500"], rows)
    return f"{table}\n\n{_protocol(accuracy, 'sam2.py accuracy')}"


def slimsam_criteria() -> str:
    """Criteria at equal training."""
    result = _read("slimming_importance")
    names = {"random": "random", "magnitude": "magnitude", "hessian": "hessian", "taylor": "taylor (labels)"}
    names["SlimSAM"] = "disturbed taylor"
    ours = _reproduced("slimsam_criteria", _point)

    def agreement(name: str, ratio: float) -> str:
        for row in result["rows"]:
            settings = row["settings"]
            alternate = settings.get("procedure", "alternate") == "alternate" and settings.get("seed", 0) == 0
            if row["name"] == names[name] and settings["ratio"] == ratio and alternate:
                return f"{row['agreement']['aligned']:.3f}"
        return ""

    def cells(name: str, ratio: float, miou: Value) -> tuple[str, str, str]:
        return _number(miou), ours(f"{name}, {ratio:g}"), agreement(name, ratio)

    rows = [
        [
            title,
            *(
                c
                for r, m in ((0.5, half), (0.77, most))
                for c in (_number(m), ours(f"{name}, {r:g}"), agreement(name, r))
            ),
        ]
        for name, (title, half, most) in SLIMSAM_CRITERIA.items()
    ]
    parts = ("paper, mIoU", "samlet, mIoU", "samlet, agreement")
    table = compact_table(["criterion", *(f"{ratio}: {part}" for ratio in ("50 %", "77 %") for part in parts)], rows)
    return f"{table}\n\nAgreement: `benchmarks/slimming_tables.py importance`: {result['protocol']}."


def slimsam_ablations() -> str:
    """Procedure, losses and rankings."""
    result = _read("slimming_selection")
    ours = _reproduced("slimsam_ablations", _point)

    def agreement(name: str, ratio: float) -> str:
        kind, _, selection = name.partition(" ")
        if kind != "ranking":
            return ""
        found = [r for r in result["rows"] if r["name"] == selection and r["settings"]["ratio"] == ratio]
        return f"{found[0]['agreement']['aligned']:.3f}" if found else ""

    def cells(name: str, ratio: float, miou: Value) -> tuple[str, str, str]:
        return _number(miou), ours(f"{name}, {ratio:g}"), agreement(name, ratio)

    rows = [
        [
            title,
            *(
                c
                for r, m in ((0.77, most), (0.5, half))
                for c in (_number(m), ours(f"{name}, {r:g}"), agreement(name, r))
            ),
        ]
        for name, (title, most, half) in SLIMSAM_ABLATIONS.items()
    ]
    parts = ("paper, mIoU", "samlet, mIoU", "samlet, agreement")
    table = compact_table(["variant", *(f"{ratio}: {part}" for ratio in ("77 %", "50 %") for part in parts)], rows)
    return f"{table}\n\nAgreement: `benchmarks/slimming_tables.py selection`: {result['protocol']}."


def slimsam_data() -> str:
    """Photographs at equal iterations."""
    ours = _reproduced("slimsam_data", _point)
    rows = [
        [
            f"{number:,}",
            _number(half),
            ours(f"{number} photographs, 0.5"),
            _number(most),
            ours(f"{number} photographs, 0.77"),
        ]
        for number, (half, most) in SLIMSAM_DATA.items()
    ]
    return compact_table(["photographs", "50 %: paper, mIoU", "samlet", "77 %: paper, mIoU", "samlet"], rows)


def tinysam_ap() -> str:
    """Masks in the boxes of a detector."""
    costs = _read("published_costs")["models"]
    ours = _reproduced("tinysam_ap", _ap)
    rows = []
    for name, (title, macs, milliseconds, coco, lvis) in TINYSAM_AP.items():
        counted = f"{costs[name]['macs_total'] / 1e9:.1f} G" if name in costs else ""
        rows.append([title, macs, counted, milliseconds, _number(coco, 1), ours(name), _number(lvis, 1)])
    head = ["model", "MACs", "counted here", "ms on a T4", "COCO AP", "samlet, COCO AP", "LVIS AP"]
    return compact_table(head, rows)


def tinysam_modules() -> str:
    """What each part of the method adds."""
    result = _read("distillation_ablation")
    names = {"+ distillation": "+ distillation", "+ hard prompts": "+ hard prompts", "+ hard masks": "+ hard masks"}
    ours = _reproduced("tinysam_modules", _ap)
    columns = {"bsds500_val_box": "BSDS500, box", "coco100_train_box": "COCO, box"}

    def here(name: str, column: str) -> str:
        rows = [r for r in result["rows"] if r["student"] == "mobile_sam" and r["settings"]["labels"] == "masks"]
        if name == "baseline":
            return f"{100 * rows[0]['miou']['start'][column]:.1f}"
        found = [r for r in rows if r["name"] == names[name]]
        return f"{100 * found[0]['miou']['end'][column]:.1f}" if found else ""

    rows = [
        [name, _number(ap, 1), ours(name), *(here(name, column) for column in columns)]
        for name, ap in TINYSAM_MODULES.items()
    ]
    head = ["", "paper, COCO AP", "samlet, COCO AP", *(f"samlet, mIoU on {title}" for title in columns.values())]
    return f"{compact_table(head, rows)}\n\n{_protocol(result, 'distillation.py ablation')}"


def tinysam_bits() -> str:
    """What few bits cost."""
    result = _read("quantization_aim")
    ours = _reproduced("tinysam_bits", _ap)
    here = {"mobile_sam, float": result["float"]["box"]}
    here |= {f"mobile_sam, {row['name']}": row["miou"]["box"] for row in result["rows"]}
    rows = [
        [title, _number(ap, 1), ours(name), f"{100 * here[name]:.2f}" if name in here else ""]
        for name, (title, ap) in TINYSAM_BITS.items()
    ]
    table = compact_table(["model", "paper, COCO AP", "samlet, COCO AP", "samlet, mIoU of boxes on COCO"], rows)
    return f"{table}\n\n{_protocol(result, 'quantization.py aim')}"


def tinysam_everything() -> str:
    """Everything mode, grid and hierarchy."""
    result = _read("everything_recall")
    ours = _reproduced("tinysam_everything", _found)
    settings = result["settings"]
    here = {"mobile_sam, grid": settings["grid 32"], "mobile_sam, hierarchical": settings["8/32, 8.5"]}
    rows = [
        [title, _number(miou), seconds, ours(name), f"{100 * here[name]['best_iou']:.2f}" if name in here else ""]
        for name, (title, miou, seconds) in TINYSAM_EVERYTHING.items()
    ]
    head = ["model, strategy", "paper, mIoU", "seconds on a V100", "samlet, val2017", "samlet, 100 others of COCO"]
    return f"{compact_table(head, rows)}\n\n{_protocol(result, 'everything.py recall')}"


TABLES = {
    "papers_slimsam_models": slimsam_models,
    "papers_slimsam_criteria": slimsam_criteria,
    "papers_slimsam_ablations": slimsam_ablations,
    "papers_slimsam_data": slimsam_data,
    "papers_tinysam_ap": tinysam_ap,
    "papers_tinysam_modules": tinysam_modules,
    "papers_tinysam_bits": tinysam_bits,
    "papers_tinysam_everything": tinysam_everything,
}
