"""The models of the table on the first page: size, time of the encoder in turns, accuracy of samlet_s.

python benchmarks/first_page.py [--weights FILE] [--limit N] [--threads N]

The accuracy of mobile_sam and SAM 2 Hiera-T is in sam2_accuracy.json, by the same protocol. Their weights are looked
for in the shared folder.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, ROOT, shared_data, write
from sam2 import miou
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.evaluation.interleaved import interleaved
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


def sizes_and_times(loaded: dict[str, Sam]) -> dict[str, dict[str, Any]]:
    """Parameters, multiply-accumulates and seconds of the encoder, the models in turns."""
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seconds = interleaved({name: functools.partial(sam.encode, image) for name, sam in loaded.items()})
    return {
        name: {
            "parameters": count_parameters(sam),
            "encoder_macs": count_encoder_macs(sam, SIZE).macs_modules,
            "encoder_s": seconds[name],
        }
        for name, sam in loaded.items()
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=shared_data() / "weights" / "sam2_hiera_tiny.fp16.safetensors")
    parser.add_argument("--limit", type=int, help="photographs of each set; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = models(options.weights)
    rows = sizes_and_times(loaded)
    rows["samlet_s"]["miou"] = miou(loaded["samlet_s"], SIZE, options.limit)
    rows["samlet_s"]["fingerprint"] = loaded["samlet_s"].fingerprint()
    photographs = f"first {options.limit}" if options.limit else "all"
    protocol = (
        f"input {SIZE} px; parameters: of the whole model; multiply-accumulates of the encoder, linear layers and "
        f"convolutions; seconds: one pass of the encoder, float32, median in turns on a machine "
        f"with other work; mIoU of samlet_s: one click in a mask or its tight box, single mask and best predicted, "
        f"{photographs} photographs of each set, 95 % intervals by bootstrap over photographs; mIoU of the others: "
        "sam2_accuracy.json; seed 0"
    )
    write("first_page", protocol, {"rows": rows}, options.out)


if __name__ == "__main__":
    main()
