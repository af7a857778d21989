"""Models of our own beside MobileSAM and SAM 2 Hiera-T, at 1024 and 512 px: size, time in turns, accuracy.

python benchmarks/first_page.py [--only speed|accuracy] [--weights FILE] [--limit N] [--threads N]

What is not measured again is kept from the result file. Time is CPU time, which other work on the machine changes much
less than the time on the clock. The accuracy of SAM 2 Hiera-T is in sam2_accuracy.json, by the same protocol. The
weights of SAM 2 are looked for in the shared folder.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, shared_data, write
from sam2 import PROMPTS, RULES, SETS, SIZES
from samlet.checkpoints import int8
from samlet.data.datasets import open_dataset
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.evaluation.miou import evaluate_all
from samlet.evaluation.statistics import paired_difference
from samlet.models import Sam
from samlet.zoo import load_weights

REFERENCE = "mobile_sam"
OWN = ("samlet_s", "samlet_m")
SEED = 0
Rows = dict[str, dict[str, Any]]


def models(weights: Path) -> dict[str, Sam]:
    """The models by name."""
    named = {name: load_weights(name) for name in (REFERENCE, *OWN)}
    return {REFERENCE: named[REFERENCE], "sam2_hiera_tiny": load_weights(weights)} | named


def cpu_seconds(runs: dict[str, Callable[[], object]], turns: int = 5) -> dict[str, float]:
    """Median CPU seconds of each, one call of each at a time, after a warm-up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            if turn:
                found[name].append(time.process_time() - begin)
    return {name: statistics.median(times) for name, times in found.items()}


def add_sizes_and_times(rows: Rows, loaded: dict[str, Sam]) -> None:
    """Parameters, bytes as int8, multiply-accumulates and CPU seconds of the encoder, the models in turns."""
    for size in SIZES:
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(SEED))
        with torch.inference_mode():
            seconds = cpu_seconds({name: functools.partial(sam.encode, image) for name, sam in loaded.items()})
        for name, sam in loaded.items():
            row = rows.setdefault(name, {})
            row["parameters"] = count_parameters(sam)
            row["int8_bytes"] = int8.count_bytes(sam.state_dict())
            at = row.setdefault("at", {}).setdefault(str(size), {})
            at["encoder_macs"] = count_encoder_macs(sam, size).macs_modules
            at["encoder_cpu_s"] = seconds[name]


def add_accuracy(rows: Rows, loaded: dict[str, Sam], limit: int | None) -> None:
    """Mean IoU of models of our own, and how much it differs from MobileSAM's on the same masks."""
    for size in SIZES:
        found: dict[str, dict[str, Any]] = {}
        differences: dict[str, dict[str, Any]] = {}
        for data, place in SETS.items():
            dataset = open_dataset(shared_data().joinpath("data", *place))
            results = {
                name: evaluate_all(
                    loaded[name], dataset, PROMPTS, image_size=size, limit=limit, progress=False, rules=RULES
                )
                for name in (REFERENCE, *OWN)
            }
            for name, by_prompt in results.items():
                for result, reference in zip(by_prompt, results[REFERENCE], strict=True):
                    for rule in RULES:
                        key = f"{data} {result.name} {rule}"
                        found.setdefault(name, {})[key] = {
                            "miou": result.miou[rule],
                            "ci": list(result.intervals[rule]),
                        }
                        if name != REFERENCE:
                            pair = paired_difference(result.values(rule), reference.values(rule), SEED)
                            differences.setdefault(name, {})[key] = {
                                "mean": pair.mean,
                                "ci": [pair.low, pair.high],
                            }
        for name, miou in found.items():
            at = rows.setdefault(name, {}).setdefault("at", {}).setdefault(str(size), {})
            at["miou"] = miou
            if name in differences:
                at["less_mobile_sam"] = differences[name]
            rows[name]["fingerprint"] = loaded[name].fingerprint()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "accuracy"), help="both if none is named")
    parser.add_argument("--weights", type=Path, default=shared_data() / "weights" / "sam2_hiera_tiny.fp16.safetensors")
    parser.add_argument("--limit", type=int, help="photographs of each set; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = models(options.weights)
    path = options.out / "first_page.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else {}
    rows: Rows = {name: row for name in loaded if "at" in (row := earlier.get(name, {}))}
    rows = {name: rows.get(name, {}) for name in loaded}
    if options.only != "accuracy":
        add_sizes_and_times(rows, loaded)
    if options.only != "speed":
        add_accuracy(rows, loaded, options.limit)
    for name in OWN:
        if rows[name].get("fingerprint") != loaded[name].fingerprint():
            parser.error(f"the accuracy on file is that of other weights of {name}; measure it, too")
    photographs = f"first {options.limit}" if options.limit else "all"
    protocol = (
        f"inputs of {' and '.join(map(str, SIZES))} px; parameters, and bytes stored as int8: of the whole model; "
        "multiply-accumulates of the encoder, linear layers and convolutions; CPU seconds: one pass of the encoder, "
        "float32, median of 5 in turns; mIoU: one click in a mask or its tight box, single mask and best predicted, "
        f"{photographs} photographs of each set, 95 % intervals by bootstrap over photographs; differences from "
        f"MobileSAM: on the same masks, paired; mIoU of SAM 2: sam2_accuracy.json; seed {SEED}"
    )
    write("first_page", protocol, {"rows": rows}, options.out)


if __name__ == "__main__":
    main()
