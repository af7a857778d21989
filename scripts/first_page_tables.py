"""The table of README.md, from the JSON of benchmarks/first_page.py and benchmarks/sam2.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_TITLES = {"mobile_sam": "MobileSAM", "sam2_hiera_tiny": "SAM 2 Hiera-T", "samlet_s": "samlet_s"}
_COLUMNS = {
    "bsds500_val sa1b-point single": "BSDS500, one click",
    "bsds500_val box single": "BSDS500, box",
    "coco100_train sa1b-point single": "COCO, one click",
    "coco100_train box single": "COCO, box",
}


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def first_page() -> str:
    """Size, time and accuracy of three models."""
    result, reference = _read("first_page"), _read("sam2_accuracy")["rows"]
    head = ["model", "parameters", "encoder MACs", "encoder, CPU time", *_COLUMNS.values()]
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    for name, row in result["rows"].items():
        miou = row.get("miou") or reference[f"{name} at 1024"]["miou"]
        cells = [
            _TITLES[name],
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['encoder_macs'] / 1e9:.1f} G",
            f"{row['encoder_cpu_s']:.2f} s",
            *(f"{100 * miou[column]['miou']:.1f}" for column in _COLUMNS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    note = (
        "Accuracy: mean IoU in percent with masks drawn by people, single mask, image size 1024. CPU time: one pass "
        f"of the encoder, float32, {threads} of an {machine['processor']} CPU, the models in turns. "
        "Measured by `benchmarks/first_page.py` and `benchmarks/sam2.py`."
    )
    return "\n".join([*lines, "", note])


TABLES = {"first_page": first_page}
