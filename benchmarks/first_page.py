"""The models of the table on the first page: size, time of the encoder in turns, accuracy of samlet_s.

python benchmarks/first_page.py [--only speed|accuracy] [--weights FILE] [--limit N] [--threads N]

What is not measured again is kept from the result file. Time is CPU time, which other work on the machine changes much
less than the time on the clock. The accuracy of mobile_sam and SAM 2 Hiera-T is in sam2_accuracy.json, by the same
protocol. The weights of SAM 2 are looked for in the shared folder.
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

from common import RESULTS, ROOT, shared_data, write
from sam2 import miou
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.models import Sam
from samlet.zoo import load_weights

SMALL = ROOT / "recipes" / "samlet_s"
SIZE = 1024
"""Side of the input, pixels."""


def models(weights: Path) -> dict[str, Sam]:
    """The three models by name."""
    return {
        "mobile_sam": load_weights("mobile_sam"),
        "sam2_hiera_tiny": load_weights(weights),
        "samlet_s": load_weights(SMALL),
    }


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


def sizes_and_times(loaded: dict[str, Sam]) -> dict[str, dict[str, Any]]:
    """Parameters, multiply-accumulates and CPU seconds of the encoder, the models in turns."""
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seconds = cpu_seconds({name: functools.partial(sam.encode, image) for name, sam in loaded.items()})
    return {
        name: {
            "parameters": count_parameters(sam),
            "encoder_macs": count_encoder_macs(sam, SIZE).macs_modules,
            "encoder_cpu_s": seconds[name],
        }
        for name, sam in loaded.items()
    }


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
    rows = json.loads(path.read_text())["rows"] if path.is_file() else {name: {} for name in loaded}
    if options.only != "accuracy":
        for name, row in sizes_and_times(loaded).items():
            rows[name] = row | {key: rows[name][key] for key in ("miou", "fingerprint") if key in rows[name]}
    fingerprint = loaded["samlet_s"].fingerprint()
    if options.only != "speed":
        rows["samlet_s"] |= {"miou": miou(loaded["samlet_s"], SIZE, options.limit), "fingerprint": fingerprint}
    if rows["samlet_s"].get("fingerprint") != fingerprint:
        parser.error("the accuracy on file is that of other weights of samlet_s; measure it, too")
    photographs = f"first {options.limit}" if options.limit else "all"
    protocol = (
        f"input {SIZE} px; parameters: of the whole model; multiply-accumulates of the encoder, linear layers and "
        f"convolutions; CPU seconds: one pass of the encoder, float32, median of 5 in turns; mIoU of "
        "samlet_s: one click in a mask or its tight box, single mask and best predicted, "
        f"{photographs} photographs of each set, 95 % intervals by bootstrap over photographs; mIoU of the others: "
        "sam2_accuracy.json; seed 0"
    )
    write("first_page", protocol, {"rows": rows}, options.out)


if __name__ == "__main__":
    main()
