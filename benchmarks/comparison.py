"""`samlet compare` on photographs with human masks: mobile_sam and two models slimmed from it.

python benchmarks/comparison.py            slims the two models first, unless they are in --models; continues
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, ROOT, shared_data, write

PROTOCOLS = ("sa1b-point", "box", "point-3")
RATIOS = (0.5, 0.77)


def weights() -> str:
    path = shared_data() / "weights" / "mobile_sam.safetensors"
    return str(path) if path.is_file() else "mobile_sam"


def photographs() -> Path:
    path = shared_data() / "data" / "photos1000"
    return path if path.is_dir() else ROOT / "examples" / "photos"


def slim(ratio: float, options: argparse.Namespace) -> Path:
    """A slimmed model; one that is there is taken as it is, an unfinished run continues."""
    out = options.models / f"slim_{round(100 * ratio)}"
    if not (out / "provenance.json").is_file():
        command = ["slim", "--teacher", weights(), "--images", str(photographs()), "--ratio", str(ratio)]
        command += ["--steps", str(options.steps), "--image-size", str(options.slim_size), "--out", str(out)]
        command += ["--micro-batch", "1", "--scoring-images", str(options.scoring_images)]
        command += ["--threads", str(options.threads)]
        samlet(command)
    return out


def samlet(command: list[str]) -> str:
    run = subprocess.run([sys.executable, "-m", "samlet", *command], check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout


def data() -> dict[str, Path]:
    folder = shared_data() / "data"
    places = {"bsds500_val": folder / "bsds500" / "val", "coco100_train": folder / "coco100_train" / "instances.json"}
    return {name: path for name, path in places.items() if path.exists()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "comparison", help="folder of slimmed models")
    parser.add_argument("--steps", type=int, default=150, help="of each stage together, in slimming")
    parser.add_argument("--slim-size", type=int, default=512)
    parser.add_argument("--scoring-images", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--limit", type=int, help="photographs of each dataset; all if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.models.mkdir(parents=True, exist_ok=True)
    models = [weights(), *(str(slim(ratio, options)) for ratio in RATIOS)]
    found: dict[str, Any] = {}
    for name, path in data().items():
        command = ["compare", *models, "--data", str(path), "--image-size", str(options.image_size), "--json"]
        command += [word for protocol in PROTOCOLS for word in ("--protocol", protocol)]
        command += ["--threads", str(options.threads), "--out", str(options.models / name)]
        command += [] if options.limit is None else ["--limit", str(options.limit)]
        found[name] = json.loads(samlet(command))
    protocol = (
        f"samlet compare, input {options.image_size}, {options.limit or 'all'} photographs of each set, every mask; "
        "single, best predicted and oracle of three apart, 95 % bootstrap interval over images, seed 0; latency: "
        "median of five passes, the models in turns; memory: of a fresh process that encodes one image and answers one "
        f"point; slim_50 and slim_77: samlet slim from mobile_sam, {photographs().name} without labels, "
        f"{options.steps} steps of 4 photographs at {options.slim_size} px, {options.scoring_images} to score channels"
    )
    write("comparison", protocol, {"data": found}, options.out)


if __name__ == "__main__":
    main()
