"""What closed-form recovery brings before and after training: more views, both cuts at once or apart, a second pass.

python benchmarks/recovery.py [--steps N] [--image-size N] [--out DIR]

On the bundled photographs, as `samlet demo` slims: eight to refit on, three held out.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write
from samlet.data.bundled import bundled_photographs
from samlet.models import ImageEncoder
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import ProcedureName, SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.scoring import Scorer
from samlet.slimming.surgery import cut_encoder
from samlet.slimming.validation import Validation
from samlet.training.batches import ImageDataset, train_val_split
from samlet.zoo import load_weights

VIEWS = (8, 16, 32, 64)
RATIO = 0.5


class Bench:
    """Teacher, photographs and what is measured."""

    def __init__(self, size: int) -> None:
        self.teacher = load_weights("mobile_sam").requires_grad_(False)
        trained_on, self.held_out = train_val_split(bundled_photographs(), 0)
        mean, std, _ = self.teacher.preprocessing
        self.photographs = ImageDataset(trained_on, size, mean, std, 0, augment=True)
        engine = DistributedContext()
        held_out = ImageDataset(self.held_out, size, mean, std)
        self.validation = Validation(self.teacher, self.held_out, held_out, engine)
        config = SlimConfig(ratio=RATIO, steps=2, image_size=size)
        self.scorer = Scorer(
            teacher=self.teacher, photographs=self.photographs, labels=None, config=config, engine=engine
        )

    def cut(self, procedure: ProcedureName, views: int) -> tuple[dict[str, torch.Tensor], ImageEncoder, float]:
        """What stays, the cut and refitted encoder, and the seconds that refitting took."""
        kept: dict[str, torch.Tensor] = {}
        before, seconds = self.teacher.image_encoder, 0.0
        parts = [("embedding", "bottleneck")] if procedure == "one-step" else [("embedding",), ("bottleneck",)]
        for kinds in parts:
            chosen = self.scorer.choose(before, kinds)
            student = cut_encoder(before, chosen).requires_grad_(False)
            start = time.perf_counter()
            if views:
                reconstruct(student, before, chosen, (v.image for v in self.photographs.views(0, views)))
            seconds += time.perf_counter() - start
            kept |= chosen
            before = student
        return kept, before, seconds

    def row(self, name: str, encoder: ImageEncoder, seconds: float) -> dict[str, Any]:
        """Embedding error and agreement on the photographs held out."""
        return {"name": name, **self.validation(encoder), "seconds": seconds}


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All variants."""
    bench = Bench(options.image_size)
    found = []

    def note(name: str, encoder: ImageEncoder, seconds: float) -> None:
        found.append(bench.row(name, encoder, seconds))
        print(json.dumps(found[-1]), flush=True)

    for views in (0, *options.views):
        _, encoder, seconds = bench.cut("one-step", views)
        note(f"one step, {views} views" if views else "one step, no recovery", encoder, seconds)
    _, encoder, seconds = bench.cut("alternate", options.views[-2])
    note(f"alternate, {options.views[-2]} views each time", encoder, seconds)
    start = time.perf_counter()
    settings = {"ratio": RATIO, "steps": options.steps, "image_size": options.image_size, "procedure": "one-step"}
    made = run_slimming(bench.teacher, bundled_photographs(), SlimConfig(**settings, recovery_images=options.views[-2]))
    aligned = time.perf_counter() - start
    note(f"one step, {options.views[-2]} views, then {options.steps} steps", made.sam.image_encoder, aligned)
    again = copy.deepcopy(made.sam.image_encoder)
    start = time.perf_counter()
    pictures = (v.image for v in bench.photographs.views(0, options.views[-2]))
    reconstruct(again, bench.teacher.image_encoder, made.kept, pictures)
    note("the same, refitted once more at the end", again, aligned + time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--views", type=int, nargs="+", default=list(VIEWS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    protocol = (
        f"mobile_sam, ratio {RATIO:g}, the bundled photographs at {options.image_size} px: 8 to refit and align on, "
        "whole and as random views, 3 held out; embedding error: share of the variance; agreement: mean IoU of "
        f"low-resolution masks with the teacher's, 16 points a photograph; {options.steps} steps of 4 where there are "
        "any; seconds: of refitting, of the whole run where there are steps; seed 0"
    )
    write("recovery", protocol, {"rows": rows(options)}, options.out)


if __name__ == "__main__":
    main()
