"""A step of training an encoder in bfloat16: attention over few keys as two products, against PyTorch's fused kernel.

python benchmarks/attention_training.py [--image-size 512] [--batch 4] [--rounds 5] [--threads 1] [--models NAME ...]

Forward and backward pass with random images, the two ways in turns. Weights do not matter for the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from common import RESULTS, write
from samlet.models import ImageEncoder, Sam, building_blocks, maps_of
from samlet.zoo import find, load_weights

MODELS = ("mobile_sam", "samlet_s", "sam2_hiera_tiny")
_WINDOWS = ((64, 32), (64, 80), (49, 32), (196, 32), (196, 96), (1024, 96))
"""Keys of a window, and width of a head."""


def encoder_of(name: str) -> ImageEncoder:
    """The encoder of a zoo model, with random weights where the model is not in the package."""
    entry = find(name)
    config = entry.sam_config()
    return (load_weights(name) if entry.embedded or config is None else Sam(config)).image_encoder.train()


def step(encoder: ImageEncoder, images: torch.Tensor) -> None:
    """One forward and backward pass."""
    with torch.autocast("cpu", torch.bfloat16):
        maps = maps_of(encoder(images))
    encoder.zero_grad()
    torch.stack([one.float().square().mean() for one in maps]).sum().backward()


def attention(keys: int, width: int) -> None:
    """Forward and backward pass of attention inside windows of so many tokens, 16,384 tokens together."""
    shape = (max(1, 16384 // keys), 2, keys, width)
    q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    building_blocks.attend(q, k, v, width**-0.5).sum().backward()


def in_turns(work: Callable[[], None], rounds: int) -> dict[str, float]:
    """Median seconds with the fused kernel and without."""
    few = building_blocks._FEW_KEYS
    found: dict[str, list[float]] = {"fused": [], "apart": []}
    for turn in range(rounds + 1):
        for name, bound in (("fused", 0), ("apart", 10**9)):
            building_blocks._FEW_KEYS = bound if name == "fused" or work.__name__ == "window" else few
            begin = time.perf_counter()
            work()
            if turn:
                found[name].append(time.perf_counter() - begin)
    building_blocks._FEW_KEYS = few
    seconds = {name: statistics.median(values) for name, values in found.items()}
    return {**seconds, "ratio": seconds["fused"] / seconds["apart"]}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = torch.randn(options.batch, 3, options.image_size, options.image_size)
    content: dict = {"models": {}, "windows": {}}
    for name in options.models:
        encoder = encoder_of(name)

        def whole(encoder: ImageEncoder = encoder) -> None:
            step(encoder, images)

        content["models"][name] = in_turns(whole, options.rounds)
    for keys, width in _WINDOWS:

        def window(keys: int = keys, width: int = width) -> None:
            attention(keys, width)

        content["windows"][f"{keys} keys of width {width}"] = in_turns(window, options.rounds)
    protocol = (
        f"forward and backward pass, bfloat16, {options.batch} images at {options.image_size} px, in turns, medians of "
        f"{options.rounds}; fused: PyTorch's fused kernel everywhere, apart: two products up to "
        f"{building_blocks._FEW_KEYS} keys; windows: attention alone, 16,384 tokens in 2 heads, apart at any number of "
        "keys"
    )
    write("attention_training", protocol, content, options.out)


if __name__ == "__main__":
    main()
