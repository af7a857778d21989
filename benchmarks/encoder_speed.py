"""MobileSAM's encoder in samlet against the straightforward module tree, float32, same weights, measured in turns.

python benchmarks/encoder_speed.py [--image-size 1024] [--repeats 12] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write
from plain_tiny_vit import PlainTinyViT
from samlet.checkpoints import mobile_sam as tiny
from samlet.zoo import load_weights


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sam = load_weights("mobile_sam")
    plain = PlainTinyViT().eval()
    prefix = "image_encoder."
    plain.load_state_dict({k.removeprefix(prefix): v for k, v in tiny.write(sam).items() if k.startswith(prefix)})
    size = options.image_size
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {"plain": [], "samlet": []}
    with torch.inference_mode():
        difference = (plain(image) - sam.encode(image)).abs().max().item()
        for _ in range(options.repeats):
            times["plain"].append(seconds(lambda: plain(image)))
            times["samlet"].append(seconds(lambda: sam.encode(image)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = {name: min(values) for name, values in times.items()}
    write(
        "encoder_speed",
        f"one image of {size}x{size}, float32, median of {options.repeats} runs in turns after one warm-up; plain: "
        "batch norms apart, explicit softmax attention, channels first",
        {
            "median_s": medians,
            "best_s": best,
            "ratio_of_medians": medians["plain"] / medians["samlet"],
            "ratio_of_bests": best["plain"] / best["samlet"],
            "largest_difference": difference,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
