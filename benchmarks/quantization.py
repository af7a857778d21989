"""What quantization costs: metric by bits for `mobile_sam` and a slimmed model, and the bits that the paper names.

python benchmarks/quantization.py table|aim [...] [--models DIR]

Every row is one run of `samlet.quantization.run`, evaluated on photographs with human masks. A row that the result file
has already, with the same settings, is not run again. `table` is at 512 px, `aim` at 1024 px with all photographs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from samlet.data.datasets import Dataset, open_dataset
from samlet.data.images import find_images
from samlet.evaluation import evaluate_all
from samlet.quantization import QuantConfig, run
from samlet.slimming import SlimConfig
from samlet.slimming import run as slim_run
from samlet.zoo import load_weights

BITS = ((8, 8), (6, 6), (4, 8), (4, 4))
PROMPTS = ("point", "box")

Row = tuple[str, str, dict[str, Any]]
"""Name, model, settings of the run."""


def rows(table: str) -> Iterator[Row]:
    """What to measure; of each model the metric with curvature first, whose calibration serves the others."""
    if table == "aim":
        for weights, activations in BITS[:2]:
            yield f"W{weights}A{activations}", "mobile_sam", {"weights": weights, "activations": activations}
        return
    for metrics in (("hessian", "minmax"), ("mse", "percentile")):
        for model in ("mobile_sam", "slim_50"):
            for metric in metrics:
                for weights, activations in BITS:
                    settings = {"weights": weights, "activations": activations, "metric": metric}
                    yield f"W{weights}A{activations}", model, settings
    for model in ("mobile_sam", "slim_50"):
        yield "mixed, 6 on average", model, {"mixed": 6.0}


def model(name: str, options: argparse.Namespace) -> samlet.Sam:
    """The model to quantize; the slimmed one is made once."""
    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    whole = load_weights(weights if weights.is_file() else "mobile_sam")
    if name == "mobile_sam":
        return whole
    folder = options.models / name
    if not (folder / "config.json").is_file():
        config = SlimConfig(
            ratio=0.5,
            steps=options.slim_steps,
            image_size=options.image_size,
            scoring_images=16,
            recovery_images=64,
            precision="bf16",
        )
        photographs = find_images(options.photographs)
        config = config if len(photographs) >= 64 else SlimConfig(ratio=0.5, steps=2, image_size=options.image_size)
        samlet.save(slim_run(whole, photographs, config).sam, folder)
    return load_weights(folder)


def dataset(options: argparse.Namespace) -> Dataset:
    found = open_dataset(shared_data() / "data" / "coco100_train" / "instances.json")
    return found if options.limit is None else found.head(options.limit)


def measured(sam: samlet.Sam, options: argparse.Namespace) -> dict[str, float]:
    made = evaluate_all(
        sam, dataset(options), PROMPTS, image_size=options.image_size, progress=False, rules=("single",)
    )
    return {prompt: found.miou["single"] for prompt, found in zip(PROMPTS, made, strict=True)}


def table(name: str, options: argparse.Namespace) -> None:
    path = options.out / f"quantization_{name}.json"
    budget = {key: getattr(options, key) for key in ("image_size", "limit", "calibration_images", "candidates")}
    protocol = (
        f"samlet evaluate, single mask, input {options.image_size}, first {options.limit or 'all'} photographs of "
        f"coco100_train; calibrated on {options.calibration_images} photographs of {options.photographs.name} at that "
        f"size, {options.candidates} candidates, seed 0; slim_50: mobile_sam slimmed by 0.5"
    )

    def content() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.get("budget") == budget else {"budget": budget, "float": {}, "rows": []}

    for row in list(rows(name))[: options.rows]:
        key = {"name": row[0], "model": row[1], "settings": row[2]}
        known = content()
        if any({k: done[k] for k in key} == key for done in known["rows"]):
            continue
        print(name, *row, flush=True)
        sam = model(row[1], options)
        if row[1] not in known["float"]:
            known["float"][row[1]] = measured(sam, options)
        config = QuantConfig(
            image_size=options.image_size,
            calibration_images=options.calibration_images,
            candidates=options.candidates,
            **row[2],
        )
        start = time.perf_counter()
        calibration = options.models / f"{name}-{row[1]}-{config.scheme}-{options.image_size}"
        made = run(sam, find_images(options.photographs), config, calibration=calibration)
        seconds = time.perf_counter() - start
        miou = measured(made.sam, options)
        before = known["float"][row[1]]
        found = {
            **key,
            "average_bits": made.average_bits,
            "miou": miou,
            "drop": {prompt: before[prompt] - value for prompt, value in miou.items()},
            "seconds": seconds,
        }
        known["rows"].append(found)
        write(f"quantization_{name}", protocol, known, options.out, quiet=True)
        print(json.dumps(found), flush=True)
    if not options.keep:
        for folder in options.models.glob(f"{name}-*"):
            shutil.rmtree(folder)


def main() -> None:
    data = shared_data() / "data"
    photos = data / "photos1000" if (data / "photos1000").is_dir() else ROOT / "examples" / "photos"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=("table", "aim"))
    parser.add_argument("--photographs", type=Path, default=photos, help="to calibrate on")
    parser.add_argument("--calibration-images", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--image-size", type=int, help="side of the input; 512 for the table, 1024 for the aim")
    parser.add_argument("--limit", type=int, help="photographs with masks; 40 for the table, 0 for all")
    parser.add_argument("--slim-steps", type=int, default=40)
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the calibrations in --models")
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "quantization")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, limit = options.image_size, options.limit
    for name in options.tables:
        options.image_size = size or (512 if name == "table" else 1024)
        options.limit = (40 if name == "table" else None) if limit is None else limit or None
        table(name, options)


if __name__ == "__main__":
    main()
