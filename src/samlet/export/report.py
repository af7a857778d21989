"""What an export shows: figures, a report, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samlet.checkpoints.reading import EXPORT, read_json
from samlet.export.probes import Answer, Probe
from samlet.export.result import Exported
from samlet.export.usage import usage_lines
from samlet.io.writing import new_file
from samlet.reporting.contact_sheet import Cell, write_sheet

_SHOWN = 5  # the middle of the grid


def to_json(made: Exported) -> dict[str, Any]:
    """The figures under the names of the command line's contract."""
    figures = made.figures
    return {
        "target": made.config.to,
        "precision": made.config.precision,
        "files": [{"path": str(made.folder / name), "bytes": size} for name, size in made.files.items()],
        "agreement": figures.agreement,
        "latency_s": figures.latency_s,
        "float_latency_s": figures.float_latency_s,
        "refused": list(made.refused),
        "gate": figures.as_dict(),
        "layers": list(made.layers),
        "variants": [asdict(one) for one in made.variants],
        "seconds": made.seconds,
    }


def text(made: Exported) -> str:
    """A few lines for people."""
    figures = made.figures
    if made.variants:
        return "\n".join([*map(str, made.variants), *(f"refused, but forced: {reason}" for reason in made.refused)])
    lines = [
        f"{made.config.to}, {made.config.precision}: mask IoU with the source model {figures.agreement:.4f} "
        f"(least {figures.worst:.4f}) over {figures.prompts} prompts; expected {made.config.limit:g}"
    ]
    if figures.worst_prompt is not None:
        lines.append(f"the worst prompt: {figures.worst_prompt}, mask IoU {figures.worst_prompt.iou:.4f}")
    if figures.embedding_sqnr is not None:
        lines.append(f"image embedding: {figures.embedding_sqnr:.1f} dB over its error")
    if figures.simulation_agreement is not None and figures.simulation_sqnr is not None:
        lines.append(
            f"against the simulation of the same scales: mask IoU {figures.simulation_agreement:.4f}, "
            f"{figures.simulation_sqnr:.1f} dB"
        )
    for part in figures.bytes or {}:
        lines.append(f"{part}: {_part(made, part)}")
    kept = [layer for layer in made.layers if layer.get("float_reason")]
    if kept:
        lines.append(f"{len(kept)} layers stay float; report.md says why")
    lines += [f"refused, but forced: {reason}" for reason in made.refused]
    return "\n".join(lines)


def _part(made: Exported, part: str) -> str:
    """Seconds and bytes of one graph, with the ratio to float32; bytes alone where nothing was timed."""
    figures = made.figures
    assert figures.bytes is not None
    size = figures.bytes[part]
    if not figures.latency_s:
        beside = figures.float_bytes[part] if figures.float_bytes else None
        float32 = "" if beside is None else f" (float32: {beside / 1e6:.2f} MB, {size / beside:.2f})"
        return f"{size / 1e6:.2f} MB{float32}"
    own = figures.latency_s[part]
    said = f"{own * 1e3:.1f} ms, {size / 1e6:.2f} MB"
    if figures.float_latency_s and figures.float_bytes:
        other, theirs = figures.float_latency_s[part], figures.float_bytes[part]
        said += f" (float32: {other * 1e3:.1f} ms, {other / own:.2f} times; {theirs / 1e6:.2f} MB, {size / theirs:.2f})"
    return said


def markdown(made: Exported, about: Mapping[str, Any]) -> str:
    """The report.

    Args:
        made: the export.
        about: its `export.json`.
    """
    lines = [
        f"# Export to {made.config.to}, {made.config.precision}",
        "",
        *(f"- {line}" for line in text(made).split("\n")),
    ]
    counted, side = about["macs"], about["macs_image_size"]
    lines += [f"- {part}: {counted[part]['macs_total'] / 1e9:.2f} G MACs at {side} px" for part in counted]
    lines += ["", "![masks of the source model and of the export](comparison.png)", ""]
    if made.layers:
        lines += ["| layer | weights | inputs | SQNR, dB | |", "|---|--:|--:|--:|---|"]
        for layer in made.layers:
            ratio = "" if layer.get("sqnr") is None else f"{layer['sqnr']:.1f}"
            bits = [layer.get("weights") or "float", layer.get("inputs") or "float"]
            reason = layer.get("float_reason") or ""
            lines.append(f"| `{layer['name']}` | {bits[0]} | {bits[1]} | {ratio} | {reason} |")
        lines.append("")
    lines += usage_lines(about["usage"])
    return "\n".join(lines) + "\n"


def write_markdown(made: Exported, folder: Path) -> None:
    """Write `report.md` into a folder with its `export.json`."""
    text = markdown(made, read_json(folder / EXPORT))
    with new_file(folder / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_picture(
    asked: Sequence[Probe], source: Sequence[Answer], made: Sequence[Answer], name: str, path: Path
) -> None:
    """One point on each photograph: the source model's mask and the export's."""
    rows = []
    for question, theirs, ours in zip(asked, source, made, strict=True):
        point = question.points[_SHOWN : _SHOWN + 1]
        output = 1 + int(theirs.iou[_SHOWN, 1:].argmax())
        rows.append(
            [
                Cell(caption, question.image, answer.masks[_SHOWN, output], point)
                for caption, answer in (("PyTorch", theirs), (name, ours))
            ]
        )
    write_sheet(rows, path)
