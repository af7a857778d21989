"""SAM 2 (Hiera-T) beside MobileSAM: accuracy, speed of the encoder, and what slimming by a ratio costs.

python benchmarks/sam2.py accuracy|speed|slimming [...] [--weights FILE] [--limit N] [--threads N]

The weights are looked for in the shared folder. A row that the result file has already is not measured again, so a
killed benchmark continues.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, shared_data, write
from samlet.checkpoints.sam2 import sam2_config
from samlet.data.datasets import open_dataset, plain_images
from samlet.data.images import find_images
from samlet.evaluation.costs import count_encoder_macs
from samlet.evaluation.ground_truth import Rule
from samlet.evaluation.interleaved import interleaved
from samlet.evaluation.miou import evaluate_all
from samlet.models import PromptableModel, Sam
from samlet.models.encoders.hiera.config import PUBLISHED
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.training.batches import train_val_split
from samlet.zoo import load_weights

RATIOS = (0.4, 0.25, 0.5)
SIZES = (1024, 512)
"""Sides of the input that accuracy is measured at, pixels."""
SETS = {"bsds500_val": ("bsds500", "val"), "coco100_train": ("coco100_train", "instances.json")}
PROMPTS = ("point", "box")
RULES: tuple[Rule, ...] = ("single", "best")
Rows = dict[str, dict[str, Any]]


class Table:
    """Rows by name in one result file.

    Args:
        name: of the file.
        protocol: what was measured, in words.
        options: of the command line.
        settings: rows measured with others are dropped.
    """

    def __init__(self, name: str, protocol: str, options: argparse.Namespace, settings: dict[str, Any]) -> None:
        self._name, self._protocol, self._folder, self._settings = name, protocol, options.out, settings
        path = options.out / f"{name}.json"
        content = json.loads(path.read_text()) if path.is_file() else {}
        self.rows: Rows = content["rows"] if content.get("settings") == settings else {}

    def add(self, name: str, row: Callable[[], dict[str, Any]]) -> None:
        """Measure a row, unless it is there."""
        if name in self.rows:
            return
        print(self._name, name, flush=True)
        self.rows[name] = row()
        write(self._name, self._protocol, {"settings": self._settings, "rows": self.rows}, self._folder, quiet=True)


def miou(sam: PromptableModel, size: int, limit: int | None) -> dict[str, Any]:
    """Mean IoU by set, prompt and rule, with 95 % intervals over photographs."""
    found: dict[str, Any] = {}
    for name, place in SETS.items():
        data = open_dataset(shared_data().joinpath("data", *place))
        for result in evaluate_all(sam, data, PROMPTS, image_size=size, limit=limit, progress=False, rules=RULES):
            for rule in RULES:
                key = f"{name} {result.name} {rule}"
                found[key] = {"miou": result.miou[rule], "ci": list(result.intervals[rule])}
    return found


def _measured(limit: int | None) -> str:
    return (
        f"mean IoU over masks at full resolution, {f'first {limit}' if limit else 'all'} photographs of each set, one "
        "click in a mask or its tight box; single mask, and best predicted of the three; 95 % intervals by bootstrap "
        "over photographs"
    )


def accuracy(options: argparse.Namespace) -> None:
    """Both models at both sizes, on photographs that neither was trained on."""
    table = Table("sam2_accuracy", _measured(options.limit), options, {"limit": options.limit})
    models = {"mobile_sam": "mobile_sam", "sam2_hiera_tiny": options.weights}
    for size in SIZES:
        for name, source in models.items():
            table.add(
                f"{name} at {size}",
                lambda source=source, size=size: {"miou": miou(samlet.load(source), size, options.limit)},  # type: ignore[misc]
            )


def speed(options: argparse.Namespace) -> None:
    """Encoders in turns, in one process."""
    import transformers

    protocol = (
        "median seconds of a pass of the image encoder in turns, one image, PyTorch, float32, random values; "
        "transformers' Sam2VisionModel of the same shape"
    )
    table = Table("sam2_speed", protocol, options, {"threads": options.threads})
    for size in SIZES:
        table.add(str(size), lambda size=size: {"seconds": _seconds(transformers, size)})  # type: ignore[misc]


def _seconds(transformers: Any, size: int) -> dict[str, float]:
    sam2 = Sam(sam2_config(dataclasses.replace(PUBLISHED["tiny"], image_size=size), object_score=True)).eval()
    mobile, image = samlet.load("mobile_sam"), torch.randn(1, 3, size, size)
    with tempfile.TemporaryDirectory() as temporary:
        samlet.save(sam2, Path(temporary) / "hf", format="hugging-face")
        theirs = transformers.Sam2Model.from_pretrained(Path(temporary) / "hf").eval()
    with torch.inference_mode():
        return dict(
            interleaved(
                {
                    "samlet": lambda: sam2.encode(image),
                    "transformers": lambda: theirs.vision_encoder(image),
                    "mobile_sam": lambda: mobile.encode(image),
                }
            )
        )


def slimming(options: argparse.Namespace) -> None:
    """Ratios of the uniform cut, from photographs without labels."""
    settings = {
        name: getattr(options, name) for name in ("steps", "image_size", "precision", "scoring_images", "limit")
    }
    protocol = (
        f"teacher SAM 2 Hiera-T; {options.images.name} without labels; {options.steps} steps of 4 photographs at "
        f"{options.image_size} px, {options.precision}, {options.scoring_images} scoring photographs, else default; "
        "agreement with the teacher: single mask for points of a 4x4 grid on photographs held out; "
        f"MACs of the encoder at 1024 px; {_measured(options.limit)}; seed 0"
    )
    table = Table("sam2_slimming", protocol, options, settings)
    teacher = load_weights(options.weights)
    for ratio in options.ratios:
        table.add(f"{ratio:g}", lambda ratio=ratio: _slimmed(teacher, ratio, options))  # type: ignore[misc]


def _slimmed(teacher: Sam, ratio: float, options: argparse.Namespace) -> dict[str, Any]:
    """A row; a model that an earlier run saved is measured again and not made again."""
    saved = None if options.save is None else options.save / f"sam2-{ratio:g}"
    photographs, pruned, seconds = find_images(options.images), None, None
    if saved is not None and saved.is_dir():
        sam = load_weights(saved)
    else:
        config = SlimConfig(
            ratio=ratio,
            steps=options.steps,
            image_size=options.image_size,
            precision=options.precision,
            micro_batch=4,
            scoring_images=options.scoring_images,
        )
        made = run_slimming(teacher, photographs, config)
        sam, pruned, seconds = made.sam, made.pruned, made.seconds
        if saved is not None:
            samlet.save(sam, saved)
    held_out = train_val_split(photographs, 0)[1]
    macs = count_encoder_macs(sam)
    return {
        "parameters": sum(p.numel() for p in sam.image_encoder.parameters()),
        "macs_modules": macs.macs_modules,
        "macs_total": macs.macs_total,
        "agreement": {
            "pruned": None if pruned is None else _agreement(pruned, teacher, held_out, options.image_size),
            "aligned": _agreement(sam, teacher, held_out, options.image_size),
        },
        "miou": {str(size): miou(sam, size, options.limit) for size in SIZES},
        "seconds": seconds,
        "encoder": sam.config.to_dict()["encoder"],
    }


def _agreement(sam: Sam, teacher: Sam, held_out: list[Path], size: int) -> float:
    data = plain_images("held out", held_out)
    found = samlet.evaluate(sam, data, "point", reference=teacher, image_size=size, progress=False, rules=("single",))
    return found.miou["single"]


TABLES = {"accuracy": accuracy, "speed": speed, "slimming": slimming}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--weights", type=Path, default=shared_data() / "weights" / "sam2_hiera_tiny.fp16.safetensors")
    parser.add_argument("--images", type=Path, default=shared_data() / "data" / "photos1000")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--scoring-images", type=int, default=32)
    parser.add_argument("--limit", type=int, default=0, help="photographs with human masks of each set; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--save", type=Path, help="keep the slimmed models in this folder, and take those that are there"
    )
    options = parser.parse_args()
    options.limit = options.limit or None
    torch.set_num_threads(options.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    for name in options.tables:
        TABLES[name](options)


if __name__ == "__main__":
    main()
