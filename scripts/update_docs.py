"""Write the tables of README.md from the JSON that the benchmarks wrote.

python scripts/update_docs.py [--check]; with --check nothing is written and the exit code says whether all is current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['threads']} threads of an {machine['processor']} CPU, torch {machine['torch']}, float32"


def slimming() -> str:
    """Teacher, raw pruned and aligned model."""
    result = _read("slimming")
    slim, human = result["slim"], result["human_masks"]
    teacher, student = slim["teacher_encoder"], slim["encoder"]
    rows = [
        ("teacher", "teacher", slim["teacher_parameters"], teacher, 1.0),
        ("pruned, raw", "pruned", slim["parameters"], student, slim["agreement"]["pruned"]),
        ("pruned, aligned", "aligned", slim["parameters"], student, slim["agreement"]["aligned"]),
    ]
    lines = [
        "| model | parameters | encoder MACs (modules) | encoder MACs (total) | encoder latency | agreement | "
        "point mIoU | box mIoU |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, key, parameters, encoder, agreement in rows:
        miou = [f"{human[key][prompt]['miou']['single']:.3f}" if human else "" for prompt in ("point", "box")]
        lines.append(
            f"| {name} | {parameters / 1e6:.2f} M | {encoder['macs_modules'] / 1e9:.1f} G "
            f"| {encoder['macs_total'] / 1e9:.1f} G | {encoder['latency_s'] * 1000:.0f} ms | {agreement:.3f} "
            f"| {miou[0]} | {miou[1]} |"
        )
    lines += [
        "",
        f"`benchmarks/slimming.py`: {result['protocol']}. MACs and latency at {slim['cost_image_size']} px on "
        f"{_machine(result)}. Agreement: mean IoU with the teacher's masks, {slim['agreement']['protocol']}, "
        f"{slim['agreement']['images']} photographs held out. mIoU: single-mask output, input {slim['image_size']}.",
    ]
    return "\n".join(lines)


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


def costs() -> str:
    """Counted and published multiply-accumulates."""
    result = _read("published_costs")

    def cell(counted: int, published: float | None) -> str:
        if published is None:
            return f"{counted / 1e9:.1f} G | | "
        return f"{counted / 1e9:.1f} G | {published:g} G | {counted / 1e9 / published - 1:+.1%}"

    lines = [
        "| model | modules | SlimSAM prints | | total | TinySAM prints | |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in result["models"].items():
        modules = cell(row["macs_modules"], row["published_modules_g"])
        lines.append(f"| {name} | {modules} | {cell(row['macs_total'], row['published_total_g'])} |")
    return "\n".join([*lines, "", f"`benchmarks/published_costs.py`: {result['protocol']}."])


TABLES = {"slimming": slimming, "speed": speed, "baseline": baseline, "costs": costs}


def fill(text: str) -> str:
    """Replace what stands between the markers of every table."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}{make()}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Update or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    filled = fill(text)
    if options.check:
        return int(filled != text)
    path.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
