"""Everything mode: time and memory against a plain generator, and what hierarchical settings keep.

python benchmarks/everything.py speed    one photograph, each variant in a fresh process
python benchmarks/everything.py recall   the paper's settings and samlet's on photographs with human masks; continues
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

import samlet
from common import RESULTS, ROOT, shared_data, write
from plain_everything import PlainGenerator
from samlet.data.datasets import Sample, open_dataset
from samlet.data.images import read_image
from samlet.inference.everything.features import feature_type
from samlet.zoo import load_weights

SPEED: dict[str, dict[str, Any]] = {
    "plain grid": {"plain": True},
    "plain hierarchical": {"plain": True, "hierarchical": True},
    "grid": {},
    "grid, fp32": {"precision": "fp32"},
    "grid, exact": {"exact": True},
    "hierarchical": {"strategy": "hierarchical"},
}

_PAPER = {"strategy": "hierarchical", "settling": "logits"}
RECALL: dict[str, dict[str, Any]] = {
    "grid 32": {},
    "4/16, 8.5": {**_PAPER, "sparse_points_per_side": 4, "points_per_side": 16},
    "8/32, 8.5": {**_PAPER, "sparse_points_per_side": 8},
    "10/32, 8.5": {**_PAPER, "sparse_points_per_side": 10},
    "8/32, 7.0": {**_PAPER, "sparse_points_per_side": 8, "high_threshold": 7.0},
    "8/32, 10": {**_PAPER, "sparse_points_per_side": 8, "high_threshold": 10.0},
    "samlet's": {"strategy": "hierarchical"},
}
"""Points a side of the first and the second round, and the threshold; TinySAM's table, then samlet's default."""


def weights() -> Path | str:
    path = shared_data() / "weights" / "mobile_sam.safetensors"
    return path if path.is_file() else "mobile_sam"


def default_image() -> Path:
    truck = shared_data() / "data" / "photos" / "truck.jpg"
    return truck if truck.is_file() else ROOT / "examples" / "photos" / "dogs.jpg"


def one_speed(settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Time of a whole call in this process, and the process's peak memory."""
    sam, image = load_weights(weights()), read_image(options.image)
    common = {"image_size": options.image_size, "points_per_side": options.points_per_side}
    if settings.get("plain"):
        plain = PlainGenerator(sam, **common)
        start = time.perf_counter()
        masks, prompts = plain(image, hierarchical=settings.get("hierarchical", False))
        seconds = [time.perf_counter() - start]
    else:
        generate = samlet.MaskGenerator(sam, **common, **settings)
        seconds = []
        for _ in range(options.repeats):
            answer = generate(image)
            seconds.append(answer.seconds)
        masks, prompts = answer, answer.decoder_prompts
    return {
        "masks": len(masks),
        "prompts": prompts,
        "seconds": statistics.median(seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "codes": [mask["segmentation"] for mask in masks],
    }


def speed(options: argparse.Namespace) -> None:
    found: dict[str, Any] = {}
    for name, settings in SPEED.items():
        command = [sys.executable, __file__, "speed", "--one", json.dumps(settings), *options.passed_on]
        made = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
        found[name] = json.loads(made.stdout.splitlines()[-1])
        print(name, {key: value for key, value in found[name].items() if key != "codes"}, flush=True)
    codes = {name: entry.pop("codes") for name, entry in found.items()}
    for name, entry in found.items():
        plain = codes["plain hierarchical" if name.startswith("hierarchical") else "plain grid"]
        overlap = coco_mask.iou(codes[name], plain, [0] * len(plain)) if plain and codes[name] else np.zeros((1, 1))
        entry["found_at_0.9"] = float((overlap.max(axis=0) >= 0.9).mean())
        entry["ratio"] = found["plain hierarchical" if "hierarchical" in name else "plain grid"]["seconds"]
        entry["ratio"] /= entry["seconds"]
    chosen = feature_type(samlet.EverythingOptions(), torch.device("cpu"), torch.float32)
    protocol = (
        f"mobile_sam, float32 weights; {options.image.name}, encoder included; {options.points_per_side} points a "
        f"side, input {options.image_size}; a fresh process each, samlet's the median of {options.repeats} calls, "
        "the plain ones one call; ratio: time of the plain generator of the same strategy over this; found_at_0.9: "
        "share of its masks that have one of IoU at least 0.9 here; peak: resident memory of the process; plain: 64 "
        "prompts at a time, every mask at full size before it is judged; image features, where no precision is named: "
        f"{str(chosen).removeprefix('torch.')}"
    )
    write("everything_speed", protocol, {"variants": found}, options.out)


def recall(options: argparse.Namespace) -> None:
    data = shared_data() / "data" / "coco100_train" / "instances.json"
    part, parts = options.share
    dataset = open_dataset(data).head(options.limit).share(part, parts)
    sam = load_weights(weights())
    name_here = "everything_recall" if parts == 1 else f"everything_recall.{part}-of-{parts}"
    path = options.out / f"{name_here}.json"
    budget = {"limit": options.limit, "image_size": options.image_size, "points_per_side": options.points_per_side}
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if content.get("budget") != budget:
        content = {"budget": budget, "images": {}, "settings": {}}
    for other in sorted(options.out.glob("everything_recall.*-of-*.json")) if parts == 1 else ():
        made = json.loads(other.read_text())
        if made["budget"] == budget:
            content["images"] = {**made["images"], **content["images"]}
    protocol = (
        "mobile_sam, float32 weights; coco100_train; mean over true masks of the best IoU with any of the generated "
        f"masks; {f'first {options.limit}' if options.limit else 'all'} images; input {options.image_size}; prompts: "
        "share of the grid's; masks: of an image; seconds: of an image, with whatever ran beside it, not to be compared"
    )
    for name in ("grid 32", "samlet's", *RECALL):
        for sample in dataset:
            done = content["images"].setdefault(sample.path.name, {})
            if name not in done or done[name]["options"] != RECALL[name]:
                done[name] = {"options": RECALL[name], **one_recall(sam, sample, RECALL[name], options)}
                write(name_here, protocol, content, options.out, quiet=True)
                print(sample.path.name, name, summary(content["images"], name), flush=True)
    content["settings"] = {name: summary(content["images"], name) for name in RECALL}
    write(name_here, protocol, content, options.out, quiet=True)


def one_recall(
    sam: samlet.Sam, sample: Sample, settings: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    scaled = {"points_per_side": 32, **settings}
    for name in ("points_per_side", "sparse_points_per_side"):
        if name in scaled:
            scaled[name] = max(1, scaled[name] * options.points_per_side // 32)
    masks = samlet.MaskGenerator(sam, image_size=options.image_size, **scaled)(sample.image())
    true = [annotation.rle for annotation in sample.annotations]
    codes = [mask["segmentation"] for mask in masks]
    overlap = coco_mask.iou(codes, true, [0] * len(true)) if codes else np.zeros((1, len(true)))
    return {
        "best_iou": [round(float(value), 5) for value in overlap.max(axis=0)],
        "prompts": masks.decoder_prompts,
        "masks": len(masks),
        "seconds": masks.seconds,
    }


def summary(images: dict[str, Any], name: str) -> dict[str, Any]:
    rows = [image[name] for image in images.values() if name in image]
    grid = sum(image["grid 32"]["prompts"] for image in images.values() if name in image)
    return {
        "best_iou": statistics.fmean(value for row in rows for value in row["best_iou"]),
        "prompts": sum(row["prompts"] for row in rows) / grid,
        "masks": statistics.fmean(row["masks"] for row in rows),
        "seconds": statistics.fmean(row["seconds"] for row in rows),
        "true_masks": sum(len(row["best_iou"]) for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "recall"))
    parser.add_argument("--image", type=Path, default=default_image())
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, help="photographs for recall; all if not given")
    parser.add_argument(
        "--share",
        type=lambda text: tuple(int(n) for n in text.split("/")),
        default=(0, 1),
        metavar="I/N",
        help="recall: only every N-th photograph from the I-th on, into a file of its own, which a whole run takes in",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.passed_on = [word for word in sys.argv[2:] if word]
    options.image_size = options.image_size or load_weights("mobile_sam").image_size
    if options.one:
        print(json.dumps(one_speed(json.loads(options.one), options)))
    else:
        {"speed": speed, "recall": recall}[options.part](options)


if __name__ == "__main__":
    main()
