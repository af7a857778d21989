"""SAM ViT-B slimmed by 0.77: latency of the published shape, twelve thin heads a block, and of whole heads.

python benchmarks/vit_heads.py [--image-size 1024] [--repeats 7] [--threads 2] [--only-77]

The shapes come from the selection itself, run on random weights, whose magnitudes it ranks; speed does not depend on
the weights. Needs no photographs.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import RESULTS, write
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.models import ImageEncoder, Sam, SamConfig, ViTConfig
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import SlimConfig
from samlet.slimming.scoring import Scorer
from samlet.slimming.surgery import cut_encoder, with_encoder
from samlet.training.batches import ImageDataset

SHAPES: dict[str, SlimConfig] = {
    "uniform_77": SlimConfig(ratio=0.77, importance="magnitude", selection="uniform", whole_heads=False),
    "whole_heads_77": SlimConfig(ratio=0.77, importance="magnitude", selection="gaussian", whole_heads=True),
    "whole_heads_uniform_77": SlimConfig(ratio=0.77, importance="magnitude", selection="uniform", whole_heads=True),
}
"""`uniform_77` is SlimSAM-77's shape: embedding 168, 12 heads of 14, MLP 696."""

CONTEXT: dict[str, SlimConfig] = {
    "uniform_50": SlimConfig(ratio=0.5, importance="magnitude", selection="uniform", whole_heads=False),
}


def slimmed(teacher: Sam, config: SlimConfig, engine: DistributedContext) -> ImageEncoder:
    """The encoder cut as the procedure cuts it, embeddings first, without any training."""
    photographs = ImageDataset([], teacher.image_size, teacher.pixel_mean, teacher.pixel_std)
    scorer = Scorer(teacher=teacher, photographs=photographs, labels=None, config=config, engine=engine)
    encoder = teacher.image_encoder
    for kind in ("embedding", "bottleneck"):
        encoder = cut_encoder(encoder, scorer.choose(encoder, [kind]))
    return encoder


def describe(teacher: Sam, encoder: ImageEncoder, image_size: int) -> dict[str, Any]:
    sam = with_encoder(teacher, encoder)
    return {
        "config": sam.config.to_dict()["encoder"],
        "parameters": count_parameters(encoder),
        **dataclasses.asdict(count_encoder_macs(sam, image_size)),
    }


def seconds(encoder: ImageEncoder, image: Tensor) -> float:
    start = time.perf_counter()
    encoder(image)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-77", action="store_true", help="leave out the teacher and the shape of ratio 0.5")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    vit_b = ViTConfig.uniform(embed_dim=768, depth=12, num_heads=12, global_blocks=(2, 5, 8, 11))
    teacher = Sam(SamConfig(encoder=vit_b)).requires_grad_(False).eval()
    engine = DistributedContext()
    size = teacher.check_image_size(options.image_size)
    chosen = SHAPES if options.only_77 else SHAPES | CONTEXT
    encoders = {name: slimmed(teacher, config, engine) for name, config in chosen.items()}
    if not options.only_77:
        encoders["teacher"] = teacher.image_encoder
    rows = {name: describe(teacher, encoder, size) for name, encoder in encoders.items()}

    image = torch.randn(1, 3, size, size)
    times: dict[str, list[float]] = {name: [] for name in encoders}
    with torch.inference_mode():
        for encoder in encoders.values():
            encoder(image)
        for _ in range(options.repeats):
            for name, encoder in encoders.items():
                times[name].append(seconds(encoder, image))
    for name, row in rows.items():
        row["median_s"], row["best_s"] = statistics.median(times[name]), min(times[name])

    base = rows["uniform_77"]
    ratios = {
        name: {key: base[key] / rows[name][key] for key in ("median_s", "best_s", "macs_modules", "macs_total")}
        for name in SHAPES
        if name != "uniform_77"
    }
    write(
        "vit_heads",
        f"SAM ViT-B's encoder with random weights, one image of {size}x{size}, float32, median of {options.repeats} "
        "passes in turns after one warm-up; cut by 0.77 at magnitudes, embeddings uniformly, then bottlenecks: "
        "uniform_77 the published shape, whole_heads_77 samlet's default selection, whole_heads_uniform_77 the same "
        "heads in every block; ratios: uniform_77 over the other, above 1 where the other is faster or smaller; "
        "macs: of the encoder",
        {"image_size": size, "encoders": rows, "ratios": ratios},
        options.out,
    )


if __name__ == "__main__":
    main()
