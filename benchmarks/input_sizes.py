"""At which image size a model answers best that was aligned at 512 px: mIoU at several, and its teacher's.

python benchmarks/input_sizes.py [--limit N]; needs the data folder that is not shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, shared_data, write
from samlet.data.datasets import open_dataset
from samlet.evaluation import evaluate_all

MODELS = {"mobile_sam": "mobile_sam", "samlet_s": "samlet_s"}
SIZES = (512, 768, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = open_dataset(shared_data() / "data" / "bsds500" / "val")
    rows: list[dict[str, Any]] = []
    for name, source in MODELS.items():
        sam = samlet.load(source)
        for size in SIZES:
            row: dict[str, Any] = {"model": name, "image_size": size}
            row["encoder_macs"] = samlet.cost(sam, size, measure=False).encoder.macs_modules
            for found in evaluate_all(sam, dataset, ["sa1b-point", "box"], image_size=size, limit=options.limit):
                row[found.name] = {"miou": found.miou["single"], "ci": list(found.intervals["single"])}
                row["masks"] = found.masks
            rows.append(row)
    write(
        "input_sizes",
        f"BSDS500 val, first {options.limit} photographs, single mask, 95 % bootstrap interval over images, seed 0; "
        "samlet_s: slimmed from mobile_sam, aligned at 512 px, then trained on masks at 512 and 1024 px (recipes/)",
        {"rows": rows},
        options.out,
    )


if __name__ == "__main__":
    main()
