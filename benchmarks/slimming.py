"""Slimming `mobile_sam` at ratio 0.5: cost, agreement with the teacher, and mIoU against human masks.

python benchmarks/slimming.py [--steps 200] [--image-size 512] [--images DIR]

Without the data that is not shipped, the demonstration photographs are used. The paper's length and settings:
--epochs 40 --image-size 1024 --learning-rate 1e-4 --loss mse --scoring-images 1000 --no-augment
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from samlet.data.datasets import open_dataset
from samlet.slimming import SlimConfig, report, run


def default_images() -> Path:
    photos = shared_data() / "data" / "photos1000"
    return photos if photos.is_dir() else ROOT / "examples" / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=default_images())
    parser.add_argument("--steps", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--scoring-images", type=int, default=64)
    parser.add_argument("--loss", choices=("relative", "mse"), default="relative")
    parser.add_argument("--no-augment", action="store_true")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="evaluate on the first so many photographs with human masks")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--save", type=Path, help="keep the slimmed model in this folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = SlimConfig(
        ratio=options.ratio,
        steps=options.steps or (None if options.epochs else 200),
        epochs=options.epochs,
        image_size=options.image_size,
        seed=options.seed,
        learning_rate=options.learning_rate,
        scoring_images=options.scoring_images,
        loss=options.loss,
        augment=not options.no_augment,
    )
    made = run(samlet.load("mobile_sam"), options.images, config)
    figures = report.measure(made)
    if options.save:
        samlet.save(made.sam, options.save, provenance=report.provenance(made, "mobile_sam", options.images.name))
    content: dict[str, Any] = {"slim": report.to_json(made, figures), "human_masks": {}}
    human = shared_data() / "data" / "bsds500" / "val"
    if human.is_dir():
        data = open_dataset(human)
        for name, sam in (("teacher", made.teacher), ("pruned", made.pruned), ("aligned", made.sam)):
            for prompt in ("point", "box"):
                found = samlet.evaluate(sam, data, prompt, image_size=made.image_size, limit=options.limit)
                content["human_masks"].setdefault(name, {})[prompt] = {"protocol": found.protocol, "miou": found.miou}
    write(
        "slimming",
        f"teacher mobile_sam, ratio {options.ratio:g}, {made.steps} steps of {config.batch_size} images at "
        f"{made.image_size} px, learning rate {config.learning_rate:g}, seed {config.seed}, "
        f"{len(made.trained_on)} photographs without labels; human masks: BSDS500 val",
        content,
        options.out,
    )


if __name__ == "__main__":
    main()
