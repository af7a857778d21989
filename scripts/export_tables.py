"""The tables of docs/results/exports.md, from the JSON of benchmarks/export.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"export_{name}.json").read_text(encoding="utf-8"))


def _source(name: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"`benchmarks/export.py {name}`: {result['protocol']}; {machine['threads']} threads of an "
        f"{machine['processor']} CPU, torch {machine['torch']}."
    )


def speed() -> str:
    """Encoder, decoder and bytes of every export."""
    result = _read("speed")
    encode, one, many = result["encoder_s"], result["decoder_one_prompt_s"], result["decoder_each_of_many_s"]
    lines = [
        "| | encoder, ms | times published | one prompt, ms | one of many, ms | encoder, MB | decoder, MB | SQNR, dB |",
        "|---|" + "--:|" * 7,
    ]
    for name, seconds in encode.items():
        size = result["bytes"].get(name, {})
        cells = [
            f"{seconds * 1e3:.0f}",
            f"{encode['published modules'] / seconds:.2f}",
            *(f"{found[name] * 1e3:.1f}" if name in found else "" for found in (one, many)),
            *(f"{size[part] / 1e6:.2f}" if part in size else "" for part in ("encoder", "decoder")),
            f"{result['embedding_sqnr_db'][name]:.1f}" if name in result["embedding_sqnr_db"] else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    said = "; ".join(f"{name}: {value:.2f}" for name, value in result["ratios"].items())
    return "\n".join([*lines, "", f"Ratios: {said}.", "", _source("speed", result)])


def accuracy() -> str:
    """mIoU of every export."""
    result = _read("accuracy")
    columns = list(next(iter(result["miou"].values())))
    titles = [c.replace("coco100_train", "COCO").replace("bsds500_val", "BSDS500").replace("_", " ") for c in columns]
    lines = [f"| | {' | '.join(titles)} |", "|---|" + "--:|" * len(columns)]
    for name, row in result["miou"].items():
        lost = result["drop"].get(name, {})
        cells = [f"{row[c]:.4f}" + (f" ({-100 * lost[c]:+.2f})" if c in lost else "") for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"In brackets points against float32. {_source('accuracy', result)}"])


def everything() -> str:
    """Everything mode."""
    result = _read("everything")
    lines = ["| | seconds | masks | prompts |", "|---|--:|--:|--:|"]
    for name, seconds in result["seconds"].items():
        lines.append(f"| {name} | {seconds:.2f} | {result['masks'][name]} | {result['decoder_prompts'][name]} |")
    return "\n".join([*lines, "", _source("everything", result)])


def small_graphs() -> str:
    """Our ONNX files as other optimisers leave them."""
    result = json.loads((RESULTS / "small_graphs.json").read_text(encoding="utf-8"))
    lines = ["| | nodes | MB | opening, CPU | run, CPU | ratio |", "|---|--:|--:|--:|--:|--:|"]
    for graph, rows in result["rows"].items():
        for how, row in rows.items():
            times = [f"{1e3 * row[key]:.0f} ms" for key in ("open_cpu_s", "median_cpu_s")]
            cells = [str(row["nodes"]), f"{row['bytes'] / 1e6:.2f}", *times, f"{row['ratio']:.2f}"]
            lines.append(f"| {graph}: {how} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join([*lines, "", f"`benchmarks/small_graphs.py`: {result['protocol']}; {versions}."])


TABLES = {
    "export_speed": speed,
    "export_accuracy": accuracy,
    "export_everything": everything,
    "small_graphs": small_graphs,
}
