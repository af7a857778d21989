"""A TinyViT-5M student that learns MobileSAM's embedding from nothing, and the same with PyTorch's own initialisation.

python benchmarks/from_scratch.py [--steps N] [--batch-size N] [--image-size N] [--photographs-used N] [--out DIR]

The embedding's term alone is trained with. What both are held against is the teacher's embedding of other photographs:
at each place and channel its median over the photographs trained on, the best that can be said without looking.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import RESULTS, shared_data, write
from samlet.data.datasets import Dataset, open_dataset
from samlet.distillation.config import DistillConfig
from samlet.distillation.examples import Preparation
from samlet.distillation.fresh import fresh_student
from samlet.distillation.pipeline import run_distillation
from samlet.models import Sam, build_encoder, maps_of
from samlet.training.batches import train_val_split
from samlet.zoo import load_weights

KEPT, PLAIN = "variance kept", "PyTorch's own"


def student(name: str, teacher: Sam, seed: int) -> Sam:
    """From scratch; both speak on the teacher's scale, so only the weights before the last norm differ."""
    made = fresh_student(teacher, seed)
    if name == PLAIN:
        torch.manual_seed(seed)
        plain = build_encoder(made.config.encoder).state_dict()
        plain["neck.3.weight"] = made.image_encoder.state_dict()["neck.3.weight"]
        made.image_encoder.load_state_dict(plain)
    return made


@torch.no_grad()
def embeddings(sam: Sam, dataset: Dataset, numbers: list[int], size: int) -> Tensor:
    """(N, C, h, w) of some photographs."""
    prepare = Preparation.of(sam, size)
    images = (prepare(dataset.source.sample(number).image())[0] for number in numbers)
    return torch.cat([maps_of(sam.encode(image[None]))[0] for image in images])


def share(values: Tensor) -> float:
    """Of the variance of (N, C, h, w): what differs between photographs at the same place and channel."""
    return float(values.var(dim=0, correction=0).mean() / values.var(correction=0))


def distances(found: Tensor, expected: Tensor) -> dict[str, float]:
    """The embedding's term, and the squared error as a share of the variance."""
    variance = expected.var(correction=0)
    return {
        "embedding": float((found - expected).abs().mean()),
        "relative_error": float((found - expected).square().mean() / variance),
    }


def row(name: str, teacher: Sam, dataset: Dataset, config: DistillConfig, size: int) -> dict[str, Any]:
    """One run: its curve, and what its embedding is like at both ends."""
    start = time.perf_counter()
    before = student(name, teacher, config.seed)
    made = run_distillation(teacher, before, dataset, config)
    steps = made.log.values("distillation", "validation_embedding")[0]
    curve = [{"step": 0, **made.start}]
    for number, step in enumerate(steps):
        values = {key: made.log.values("distillation", f"validation_{key}")[1][number] for key in made.start}
        curve.append({"step": int(step), **values})
    seconds = time.perf_counter() - start
    expected = embeddings(teacher, dataset, made.held_out, size)
    ends = {}
    for when, sam in (("start", before), ("end", made.sam)):
        found = embeddings(sam, dataset, made.held_out, size)
        ends[when] = {"image_dependent_share": share(found), **distances(found, expected)}
    return {
        "name": name,
        "curve": [{key: value for key, value in point.items() if key != "error"} for point in curve],
        "training": made.losses["embedding"],
        "held_out": ends,
        "seconds": seconds,
    }


def main() -> None:
    data = shared_data() / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=data / "photos1000")
    parser.add_argument("--masks", type=Path, default=data / "photos1000_masks", help="to measure mIoU with")
    parser.add_argument("--photographs-used", type=int, default=264)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=1, help="many small steps teach more than few large ones")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    teacher = load_weights(weights if weights.is_file() else "mobile_sam").requires_grad_(False)
    dataset = open_dataset(options.masks, options.photographs).shuffled(options.seed).head(options.photographs_used)
    trained_on, held_out = train_val_split([int(index) for index in dataset.order], options.seed)
    expected = embeddings(teacher, dataset, held_out, options.image_size)
    others = embeddings(teacher, dataset, trained_on, options.image_size)
    content: dict[str, Any] = {
        "teacher": {"image_dependent_share": share(expected)},
        "without_looking": {
            "embedding": distances(others.median(dim=0).values, expected)["embedding"],
            "relative_error": distances(others.mean(dim=0), expected)["relative_error"],
        },
        "rows": [],
    }
    print(json.dumps(content), flush=True)
    protocol = (
        f"teacher mobile_sam, student TinyViT-5M from scratch, both at {options.image_size} px; {len(trained_on)} "
        f"photographs of {options.photographs.name} to train on, {len(held_out)} others to measure on; "
        f"{options.steps} steps of {options.batch_size}, the embedding's term alone, learning rate "
        f"{options.learning_rate:g} at its peak, cosine, no layer decay, float32; embedding: mean absolute difference "
        "of the embeddings; relative error: squared difference over the variance; without looking: the median (for the "
        "relative error the mean) of the teacher's embeddings of the photographs trained on; share: what differs "
        "between photographs at the same place and channel, of the embedding's variance; point, box: mean IoU with "
        "masks that SAM 2 made, at low resolution, single mask; "
        f"seconds: of a run with its measurements; seed {options.seed}"
    )
    with tempfile.TemporaryDirectory() as cache:
        config = DistillConfig(
            steps=options.steps,
            image_size=options.image_size,
            seed=options.seed,
            token=0,
            output=0,
            mask=0,
            iou=0,
            layer_decay=1.0,
            learning_rate=options.learning_rate,
            batch_size=options.batch_size,
            micro_batch=options.batch_size,
            validate_every=max(1, options.steps // 5),
            cache=Path(cache),
        )
        for name in (KEPT, PLAIN):
            content["rows"].append(row(name, teacher, dataset, config, options.image_size))
            print(json.dumps(content["rows"][-1]), flush=True)
            write("from_scratch", protocol, content, options.out, quiet=True)


if __name__ == "__main__":
    main()
