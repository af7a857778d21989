"""What the curvature of the loss says of single layers of `mobile_sam`, and what their errors really do.

python benchmarks/quantization_layers.py [--every 16] [--models DIR]

One layer at a time is quantized, its inputs to 6 bits or its weights to 4, and all others stay float. The search says
what its errors add to the divergence of masks and IoUs; the divergence on photographs held out says what they do add.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from quantization import HeldOut
from samlet.data.images import find_images
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.quantization.samples import Samples
from samlet.quantization.sites import find_sites
from samlet.zoo import load_weights

KINDS: dict[str, dict[str, Any]] = {
    "inputs to 6 bits": {"weights": 16, "activations": 6},
    "weights to 4 bits": {"weights": 4, "activations": 16},
}
METRICS: dict[str, dict[str, Any]] = {
    "hessian": {"metric": "hessian"},
    "as drawn": {"metric": "hessian", "shrinkage": 0.0},
    "mse": {"metric": "mse"},
}


def calibration(options: argparse.Namespace) -> Path:
    models: Path = options.models
    return models / f"layers-{options.image_size}-{options.calibration_images}"


def effective(folder: Path, name: str) -> tuple[int, float]:
    """Draws of the curvature at a layer's outputs, and how many of equal size tell as much."""
    gradient = Samples(sorted(folder.iterdir())).matrix(name).gradient
    assert gradient is not None
    squares = gradient.double().square().sum((0, 2))
    return len(squares), float(squares.sum() ** 2 / squares.square().sum())


def measured(sam: samlet.Sam, name: str, held_out: HeldOut, options: argparse.Namespace) -> dict[str, Any]:
    """One layer: draws, and by kind and metric what is foretold and what happens."""
    others = tuple(other for other, _ in sam.named_modules() if other != name and other in options.sites)
    found: dict[str, Any] = {"layer": name}
    for kind, bits in KINDS.items():
        found[kind] = {}
        for metric, settings in METRICS.items():
            config = QuantConfig(
                image_size=options.image_size,
                calibration_images=options.calibration_images,
                candidates=options.candidates,
                keep_float=others,
                **bits,
                **settings,
            )
            made = run_quantization(sam, options.photographs, config, calibration=calibration(options), progress=False)
            (layer,) = [layer for layer in made.layers if layer.float_reason is None]
            divergence = held_out.divergence(made.sam)
            found[kind][metric] = {"divergence": sum(divergence) / len(divergence), "sqnr": layer.sqnr}
            if settings["metric"] == "hessian":
                found[kind][metric]["foretold"] = layer.loss
    found["draws"], found["effective_draws"] = effective(calibration(options), name)
    return found


def main() -> None:
    data = shared_data() / "data"
    photos = data / "photos1000" if (data / "photos1000").is_dir() else ROOT / "examples" / "photos"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=photos, help="to calibrate on, and those held out")
    parser.add_argument("--every", type=int, default=16, help="one layer with a weight of so many")
    parser.add_argument("--calibration-images", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--held-out", type=int, default=4, help="photographs for the divergence")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "quantization")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    sam = load_weights(weights if weights.is_file() else "mobile_sam")
    options.photographs = find_images(options.images)
    sites = find_sites(sam, QuantConfig())
    options.sites = {site.name for site in sites}
    held_out = HeldOut(sam, options.photographs, options)
    # A run of one layer would keep samples of that one alone, so all are calibrated first.
    first = QuantConfig(
        image_size=options.image_size, calibration_images=options.calibration_images, candidates=2, rounds=1
    )
    run_quantization(sam, options.photographs, first, calibration=calibration(options))
    names = [site.name for site in sites if site.has_weight][options.every // 2 :: options.every]
    protocol = (
        f"mobile_sam, input {options.image_size}; one layer of {options.every} with a weight; calibrated on "
        f"{options.calibration_images} photographs of {options.images.name}, {options.candidates} candidates, seed 0; "
        f"divergence: KL(masks) + KL(predicted IoUs) from the float model on {options.held_out} other photographs"
    )
    rows = []
    for name in names:
        rows.append(measured(sam, name, held_out, options))
        print(json.dumps(rows[-1]), flush=True)
        write("quantization_layers", protocol, {"rows": rows}, options.out, quiet=True)


if __name__ == "__main__":
    main()
