"""What quantization costs `mobile_sam`: metrics by bits, mixed precision, quantizers for few bits; the paper's bits.

python benchmarks/quantization.py metrics|aim [...] [--models DIR]

Every row is one run of `samlet.quantization.run`, evaluated on photographs with human masks; intervals are paired
bootstraps over the photographs. A row that the result file has already, with the same settings, is not run again.
`metrics` is at 512 px with 40 photographs, `aim` at 1024 px with all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from samlet.data.datasets import Dataset, open_dataset
from samlet.data.images import find_images, read_image
from samlet.data.transforms import Frame, preprocess
from samlet.evaluation import evaluate_all
from samlet.evaluation.statistics import mean_over_masks, paired_difference
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.quantization.calibration import Call, divergence, prompt_calls
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.zoo import load_weights

PAPER = ((8, 8), (6, 6))
PROMPTS = ("point", "box")

Row = tuple[str, dict[str, Any]]
"""Name and settings of a run."""

Answer = tuple[torch.Tensor, Frame, list[Call], list[DecoderOutput]]
"""Of a photograph: pixels, its place in them, prompts asked together, what the float model answers."""


def rows(table: str) -> Iterator[Row]:
    """What to measure; the metric with curvature first, whose calibration serves the others."""

    def row(weights: int, activations: int, **settings: Any) -> Row:
        return f"W{weights}A{activations}", {"weights": weights, "activations": activations, **settings}

    if table == "aim":
        for bits in PAPER:
            yield row(*bits, metric="hessian", shrinkage=0.0)
        for bits in PAPER:
            yield row(*bits, metric="hessian")
        return
    for bits in (*PAPER[1:], (4, 8), PAPER[0]):
        for metric in ("hessian", "mse"):
            yield row(*bits, metric=metric)
        if bits == PAPER[1]:
            yield row(*bits, metric="hessian", shrinkage=0.0)
    for bits in (*PAPER, (4, 8)):
        yield row(*bits, metric="minmax")
    yield row(4, 8, metric="minmax", weight_group=64)
    yield row(4, 8, metric="hessian", weight_group=64)
    yield row(4, 8, metric="hessian", scheme="log")
    yield "mixed, 6 on average", {"mixed": 6.0, "metric": "hessian"}
    for bits in (*PAPER, (4, 8)):
        yield row(*bits, metric="percentile")
    yield row(4, 8, metric="hessian", weight_group=64, scheme="log")
    yield row(4, 8, metric="hessian", shrinkage=0.0)
    for metric in ("hessian", "mse", "minmax", "percentile"):
        yield row(4, 4, metric=metric)
    yield row(4, 4, metric="hessian", scheme="log")
    yield row(4, 4, metric="hessian", weight_group=64, scheme="log")
    yield row(4, 8, metric="hessian", weight_group=32)


def dataset(options: argparse.Namespace) -> Dataset:
    found = open_dataset(shared_data() / "data" / "coco100_train" / "instances.json")
    return found if options.limit is None else found.head(options.limit)


Values = dict[str, list[list[float]]]
"""By prompt the IoU of every mask, by photograph."""


def kept(options: argparse.Namespace, settings: Any) -> Path:
    """Where the values of a row are kept while the table is made, for comparisons between rows."""
    budget = [options.image_size, options.limit, options.calibration_images, options.candidates]
    name = hashlib.sha256(json.dumps([settings, *budget]).encode()).hexdigest()[:16]
    return options.models / "evaluations" / f"{name}.json"


def measured(sam: samlet.Sam, options: argparse.Namespace, path: Path) -> Values:
    """IoU with the true masks; read where it was measured before."""
    if not path.is_file():
        found = evaluate_all(
            sam, dataset(options), PROMPTS, image_size=options.image_size, progress=False, rules=("single",)
        )
        made = {prompt: one.values("single") for prompt, one in zip(PROMPTS, found, strict=True)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    values: Values = json.loads(path.read_text())
    return values


def shared_scales(settings: dict[str, Any]) -> str:
    """Name of the folder that rows share which differ in bits alone: mixed precision chooses from what they found."""
    rest = [f"{key}-{value}" for key, value in settings.items() if key not in ("weights", "activations", "mixed")]
    return "-".join(["scales", *rest])


class HeldOut:
    """Photographs without labels that no row was calibrated on, with the float model's answers.

    Args:
        sam: the float model.
        photographs: all; those after the calibration's, in the order that a run draws them in, are taken.
        options: of the script.
    """

    def __init__(self, sam: samlet.Sam, photographs: Sequence[Path], options: argparse.Namespace) -> None:
        order = np.random.default_rng(0).permutation(len(photographs))
        first = options.calibration_images
        self.paths = [photographs[int(n)] for n in order[first : first + options.held_out]]
        self.sam, self.size = sam, options.image_size

    @cached_property
    def answers(self) -> list[Answer]:
        return [self._answer(path) for path in self.paths]

    @torch.no_grad()
    def _answer(self, path: Path) -> Answer:
        pixels, frame = preprocess(read_image(path), self.size, *self.sam.preprocessing)
        embedding = self.sam.encode(pixels[None])
        calls = prompt_calls(self.sam, embedding, frame, 16)
        return pixels[None], frame, calls, [self.sam.decode(embedding, **call) for call in calls]

    @torch.no_grad()
    def divergence(self, made: samlet.Sam) -> list[float]:
        """Mean over prompts of each photograph's divergence from the float model."""
        found = []
        for pixels, frame, calls, exact in self.answers:
            embedding = made.encode(pixels)
            pairs = zip(calls, exact, strict=True)
            each = [divergence(self.sam, known, made.decode(embedding, **call), frame) for call, known in pairs]
            found.append(float(torch.cat(each).mean()))
        return found


def differences(values: Values, other: Values) -> dict[str, dict[str, float]]:
    """By prompt how much better the first is, with its paired interval."""
    return {prompt: asdict(paired_difference(values[prompt], other[prompt], seed=0)) for prompt in PROMPTS}


def means(values: Values) -> dict[str, float]:
    return {prompt: mean_over_masks(values[prompt]) for prompt in PROMPTS}


def table(name: str, options: argparse.Namespace) -> None:
    path = options.out / f"quantization_{name}.json"
    budget = {
        key: getattr(options, key) for key in ("image_size", "limit", "calibration_images", "candidates", "held_out")
    }
    protocol = (
        f"samlet evaluate, mobile_sam, single mask, input {options.image_size}, first {options.limit or 'all'} "
        f"photographs of coco100_train; calibrated on {options.calibration_images} photographs of "
        f"{options.photographs.name} at that size, {options.candidates} candidates, seed 0; intervals: 95 %, bootstrap "
        f"over photographs, paired; divergence: KL(masks) + KL(predicted IoUs) from the float model, "
        f"{options.held_out} other photographs, 16 prompts and 4 mask prompts on each"
    )

    def content() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.get("budget") == budget else {"budget": budget, "float": {}, "rows": []}

    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    sam = load_weights(weights if weights.is_file() else "mobile_sam")
    held_out = HeldOut(sam, find_images(options.photographs), options)
    for bits, settings in list(rows(name))[: options.rows]:
        key = {"name": bits, "settings": settings}
        known = content()
        others = [done for done in known["rows"] if {k: done[k] for k in key} != key]
        if any("divergence" in done for done in known["rows"] if done not in others):
            continue
        print(name, bits, settings, flush=True)
        exact = measured(sam, options, kept(options, "float"))
        known["float"] = means(exact)
        config = QuantConfig(
            image_size=options.image_size,
            calibration_images=options.calibration_images,
            candidates=options.candidates,
            **settings,
        )
        calibration = options.models / f"{name}-{options.image_size}"
        scales = options.models / f"{name}-{shared_scales(settings)}"
        made = run_quantization(sam, find_images(options.photographs), config, calibration=calibration, scales=scales)
        values = measured(made.sam, options, kept(options, settings))
        found: dict[str, Any] = {**key, "average_bits": made.average_bits, "miou": means(values)}
        found["difference"] = differences(values, exact)
        found["divergence"] = held_out.divergence(made.sam)
        rival = kept(options, {**settings, "metric": "hessian"})
        if settings["metric"] == "mse" and rival.is_file():
            found["hessian_less_mse"] = differences(json.loads(rival.read_text()), values)
        known["rows"] = [*others, found]
        write(f"quantization_{name}", protocol, known, options.out, quiet=True)
        print(json.dumps(found), flush=True)
    if not options.keep:
        for folder in (*options.models.glob(f"{name}-*"), options.models / "evaluations"):
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    data = shared_data() / "data"
    photos = data / "photos1000" if (data / "photos1000").is_dir() else ROOT / "examples" / "photos"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=("metrics", "aim"))
    parser.add_argument("--photographs", type=Path, default=photos, help="to calibrate on")
    parser.add_argument("--calibration-images", type=int, default=8)
    parser.add_argument("--candidates", type=int, help="32 for metrics, 100 for the aim")
    parser.add_argument("--image-size", type=int, help="side of the input; 512 for metrics, 1024 for the aim")
    parser.add_argument("--limit", type=int, help="photographs with masks; 40 for metrics, 0 for all")
    parser.add_argument("--held-out", type=int, default=8, help="photographs for the divergence")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave calibrations and evaluations in --models")
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "quantization")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, limit, candidates = options.image_size, options.limit, options.candidates
    for name in options.tables:
        options.image_size = size or (512 if name == "metrics" else 1024)
        options.candidates = candidates or (32 if name == "metrics" else 100)
        options.limit = (40 if name == "metrics" else None) if limit is None else limit or None
        table(name, options)


if __name__ == "__main__":
    main()
