"""Multiply-accumulates as samlet counts them beside the figures in print, by both conventions. Needs no weights.

python benchmarks/published_costs.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from common import RESULTS, write
from samlet.evaluation.costs import cost
from samlet.models import EncoderConfig, Sam, SamConfig, ViTConfig
from samlet.zoo import find


def slimsam(width: int, head_dim: int, mlp_dim: int) -> EncoderConfig:
    """SlimSAM's uniform shapes of ViT-B."""
    return ViTConfig.uniform(
        embed_dim=width, depth=12, num_heads=12, global_blocks=(2, 5, 8, 11), head_dim=head_dim, mlp_dim=mlp_dim
    )


# G in print: modules from SlimSAM's table (NeurIPS 2024), total from TinySAM's (AAAI 2025).
PUBLISHED: dict[str, tuple[Callable[[], EncoderConfig], float | None, float | None]] = {
    "sam_vit_b": (find("sam_vit_b").config, 372, 487),
    "sam_vit_l": (find("sam_vit_l").config, 1315, 1491),
    "sam_vit_h": (find("sam_vit_h").config, 2736, 2976),
    "mobile_sam": (find("mobile_sam").config, 40, 42.0),
    "slimsam_50_uniform": (lambda: slimsam(384, 32, 1536), 98, None),
    "slimsam_77_uniform": (lambda: slimsam(168, 14, 696), 23, 51.7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PUBLISHED, help="one model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = {}
    for name in [options.only] if options.only else PUBLISHED:
        config, modules, total = PUBLISHED[name]
        found = cost(Sam(SamConfig(encoder=config())), measure=False)
        rows[name] = {
            "macs_modules": found.macs_modules,
            "published_modules_g": modules,
            "macs_total": found.macs_total,
            "published_total_g": total,
            "encoder_macs_computed": found.encoder.macs_computed,
            "decoder_macs_computed": found.decoder.macs_computed,
        }
    write(
        "published_costs",
        "whole model, one image of 1024x1024, one point; transposed convolutions at their output positions, as the "
        "published counters have it",
        {"models": rows},
        options.out,
    )


if __name__ == "__main__":
    main()
