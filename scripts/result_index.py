"""The list of all measurements, docs/results/index.md: what, on which page, by which script, when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from first_page_tables import RULES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATES = ROOT / "scripts" / "result_dates.json"
"""Of results from before a result said its date: the day of the commit that brought it."""

PAGES = {
    "first_page": ("four models: size, time, accuracy", "comparison.md", "first_page.py"),
    "own_variants": ("how samlet_s came about", "../models/samlet_s.md", "own_variants.py"),
    "own_variants_m": ("how samlet_m came about", "../models/samlet_m.md", "own_variants.py"),
    "own_everything": ("samlet_s in everything mode", "../models/samlet_s.md", "own_everything.py"),
    "attention_training": ("speed of training attention in bfloat16", "slimming.md", "attention_training.py"),
    "aligning_speed": ("speed of aligning", "slimming.md", "aligning_speed.py"),
    "baseline": ("MobileSAM's accuracy, float32 and int8", "mobile-sam.md", "baseline.py"),
    "budgets_met": ("how exactly budgets of cost are met", "slimming.md", "budgets_met.py"),
    "comparison": ("MobileSAM and two slimmed models side by side", "comparison.md", "comparison.py"),
    "detector": ("AP of masks in given boxes", "comparison.md", "detector.py"),
    "distillation_ablation": ("terms of the distillation loss", "distillation.md", "distillation.py"),
    "distillation_aim": ("distillation of MobileSAM and of a slimmed model", "distillation.md", "distillation.py"),
    "distillation_prompts": ("prompts while distilling", "distillation.md", "distillation.py"),
    "distillation_recovery": ("aligning against distillation", "distillation.md", "distillation.py"),
    "encoder_speed": ("speed of MobileSAM's encoder", "mobile-sam.md", "encoder_speed.py"),
    "everything_recall": ("what hierarchical everything mode keeps", "everything.md", "everything.py"),
    "everything_speed": ("time and memory of everything mode", "everything.md", "everything.py"),
    "export_accuracy": ("accuracy of exports", "exports.md", "export.py"),
    "export_everything": ("everything mode of exports", "exports.md", "export.py"),
    "export_speed": ("speed of exports", "exports.md", "export.py"),
    "from_scratch": ("distillation from scratch", "distillation.md", "from_scratch.py"),
    "published_costs": ("parameters and MACs beside the published", "../reference/models.md", "published_costs.py"),
    "quantization_aim": ("quantization at 1024 px", "quantization.md", "quantization.py"),
    "quantization_metrics": ("metrics of the search", "quantization.md", "quantization.py"),
    "quantization_layers": ("one layer at a time", "quantization.md", "quantization_layers.py"),
    "recovery": ("closed-form recovery", "slimming.md", "recovery.py"),
    "sam2_accuracy": ("SAM 2's accuracy", "sam2.md", "sam2.py"),
    "sam2_slimming": ("slimming SAM 2", "sam2.md", "sam2.py"),
    "sam2_speed": ("SAM 2's speed", "sam2.md", "sam2.py"),
    "serving": ("the service under load", "service.md", "serving.py"),
    "slimming_ablations": ("the paper's ablations over seeds", "slimming.md", "slimming_ablations.py"),
    "slimming_budgets_0": ("searched widths", "slimming.md", "slimming_tables.py"),
    "slimming_budgets_80": ("searched widths, then 80 steps", "slimming.md", "slimming_tables.py"),
    "slimming_curve": ("from teacher to small", "slimming.md", "slimming_tables.py"),
    "slimming_importance": ("importance criteria", "slimming.md", "slimming_tables.py"),
    "slimming_longer": ("slimming with more steps", "slimming.md", "slimming_tables.py"),
    "slimming_selection": ("selections", "slimming.md", "slimming_tables.py"),
    "slimming_switches": ("what samlet adds to the paper", "slimming.md", "slimming_tables.py"),
    "vit_heads": ("thin and whole heads", "slimming.md", "vit_heads.py"),
    "web_masks": ("masks of the page in a browser", "web.md", "web.py"),
    "web_memory": ("memory of the page", "web.md", "web.py"),
    "web_speed": ("speed of the page", "web.md", "web.py"),
}
"""What every result file shows, the page with its table (seen from docs/results/), and the script in benchmarks/."""


def _row(name: str, dates: dict[str, str]) -> str:
    path = RESULTS / f"{name}.json"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    what, page, script = PAGES.get(name, (name, "", ""))
    shown = f"[{what}]({page})" if page else what
    threads = result.get("machine", {}).get("threads")
    date = result.get("date", dates.get(name, "")) if result else "not measured yet"
    return f"| {shown} | {f'`benchmarks/{script}`' if script else ''} | {threads or ''} | {date} |"


def index() -> str:
    """Every result file, and the tables that wait for one."""
    dates = json.loads(DATES.read_text(encoding="utf-8"))
    names = [*PAGES, *sorted(path.stem for path in RESULTS.glob("*.json") if path.stem not in PAGES)]
    lines = ["| measurement | script | CPU threads | date |", "|---|---|--:|---|"]
    return "\n".join([*lines, *(_row(name, dates) for name in names)])


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _samlet_m() -> list[tuple[str, str, float, float, str, str]]:
    """What samlet_m shall reach: half of the way from MobileSAM to SAM 2 with its best predicted mask, and its size."""
    rows = _read("first_page")["rows"]
    own, low = (rows[name]["at"]["1024"] for name in ("samlet_m", "mobile_sam"))
    high = _read("sam2_accuracy")["rows"]["sam2_hiera_tiny at 1024"]["miou"]
    short = max(
        (low["miou"][key]["miou"] + high[key]["miou"]) / 2 - own["miou"][key]["miou"]
        for key in own["miou"]
        if key.endswith("best")
    )
    card = ("samlet_m", "../models/samlet_m.md")
    what = "samlet_m: points of mIoU short of half-way from MobileSAM to SAM 2 Hiera-T where it is shortest"
    return [
        (f"{what} (best predicted mask)", "{:.1f}", 0.0, 100 * short, *card),
        ("samlet_m: multiply-accumulates of the encoder, G", "{:.1f}", 36.0, own["encoder_macs"] / 1e9, *card),
        ("samlet_m: file as int8, MB", "{:.2f}", 12.0, rows["samlet_m"]["int8_bytes"] / 1e6, *card),
    ]


def aims() -> str:
    """What was set as a goal, what was measured, and whether that is enough."""
    slimmed, quantized = _read("slimming_longer"), _read("quantization_aim")
    speed, memory = _read("web_speed")["rows"][0], _read("web_memory")["rows"][0]
    full = slimmed["teacher"]["miou"]["bsds500_val_point"]
    steps = slimmed["budget"]["steps"]
    rows: list[tuple[str, str, float, float, str, str]] = []
    for row in slimmed["rows"]:
        most = {"0.5": 1.0, "0.77": 4.0}[row["name"]]
        lost = 100 * (full - row["miou"]["bsds500_val_point"])
        what = f"MobileSAM slimmed by {row['name']}, {steps} steps: points of mIoU lost (BSDS500, one click)"
        rows.append((what, "{:.1f}", most, lost, "slimming", "slimming.md"))
    for row in quantized["rows"]:
        most = {"W8A8": 0.3, "W6A6": 1.5}[row["name"]]
        lost = 100 * (quantized["float"]["box"] - row["miou"]["box"])
        what = f"MobileSAM with {row['name']} at 1024 px: points of mIoU lost (COCO, boxes)"
        rows.append((what, "{:.2f}", most, lost, "quantization", "quantization.md"))
    own = _read("first_page")["rows"]["samlet_s"]
    card = ("samlet_s", "../models/samlet_s.md")
    lost = {
        rule: -min(v["mean"] for k, v in own["at"]["1024"]["less_mobile_sam"].items() if k.endswith(rule))
        for rule in RULES
    }
    rows += [
        (
            f"samlet_s: points of mIoU lost to MobileSAM where it loses most ({words})",
            "{:.1f}",
            1.0,
            100 * lost[rule],
            *card,
        )
        for rule, words in RULES.items()
    ]
    rows += [
        (
            "samlet_s: multiply-accumulates of the encoder, G",
            "{:.1f}",
            11.5,
            own["at"]["1024"]["encoder_macs"] / 1e9,
            *card,
        ),
        ("samlet_s: file as int8, MB", "{:.2f}", 6.5, own["int8_bytes"] / 1e6, *card),
    ]
    rows += _samlet_m()
    page = ("the page in a browser", "web.md")
    rows += [
        ("first load of a page, MB", "{:.1f}", 15.0, speed["first_load_bytes"] / 1e6, *page),
        ("first mask on a page, seconds", "{:.2f}", 3.0, speed["first_mask_s"], *page),
        ("a click on a page, milliseconds", "{:.0f}", 100.0, 1000 * speed["click_median_s"], *page),
        ("memory of a page, MB", "{:.0f}", 300.0, memory["page"] / 1e6, *page),
    ]
    lines = ["| aim: at most | aim | measured | | where |", "|---|--:|--:|---|---|"]
    for what, form, most, value, where, link in rows:
        verdict = "met" if value <= most else "**missed**"
        lines.append(f"| {what} | {most:g} | {form.format(value)} | {verdict} | [{where}]({link}) |")
    return "\n".join(lines)


TABLES = {"result_index": index, "aims": aims}
