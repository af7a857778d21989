"""mIoU of `mobile_sam` on BSDS500 val and COCO: the same figures as the published modules give.

python benchmarks/baseline.py [--limit N]; needs the data folder that is not shipped.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, shared_data, write
from samlet.data.datasets import open_dataset

DATA = {"bsds500_val": "data/bsds500/val", "coco100_train": "data/coco100_train/instances.json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = shared_data()
    weights: dict[str, str | Path] = {
        "float32": shared / "weights" / "mobile_sam.safetensors",
        "embedded int8": "mobile_sam",
    }
    results: dict[str, Any] = {}
    for kind, source in weights.items():
        sam = samlet.load(source)
        for name, path in DATA.items():
            for prompt in ("point", "box"):
                found = samlet.evaluate(sam, open_dataset(shared / path), prompt, limit=options.limit)
                results.setdefault(kind, {}).setdefault(name, {})[prompt] = dataclasses.asdict(found)
    write("baseline", "samlet evaluate, input 1024, every annotated mask, seed 0", results, options.out)


if __name__ == "__main__":
    main()
