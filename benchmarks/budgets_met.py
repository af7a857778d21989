"""How near a budget comes to what was asked for, and how much memory refitting takes.

python benchmarks/budgets_met.py [macs] [latency] [memory]

`macs`: three families to a share of their multiply-accumulates, with random weights. `latency`: mobile_sam to a share
of its own time, which is measured afterwards, both encoders in turns. `memory`: the peak of a fresh process that refits
half of SAM ViT-B at 1024 px, with random weights. None of it trains.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write
from samlet.data.bundled import bundled_photographs
from samlet.evaluation.costs import count_encoder_macs
from samlet.models import ImageEncoder, Sam
from samlet.slimming.config import WIDTHS, SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.selection import select_uniform
from samlet.slimming.surgery import cut_encoder
from samlet.zoo import load_weights
from samlet.zoo.registry import find

FAMILIES = {"ViT": "efficient_sam_ti", "TinyViT": "mobile_sam", "RepViT": "edge_sam"}


def _random(name: str) -> Sam:
    """A model of the zoo with random weights."""
    config = find(name).sam_config()
    assert config is not None
    torch.manual_seed(0)
    return Sam(config).eval().requires_grad_(False)


def macs(options: argparse.Namespace) -> dict[str, Any]:
    """Shares of the multiply-accumulates that searched widths have."""
    found = {}
    for family, name in FAMILIES.items():
        teacher = _random(name)
        settings = SlimConfig(
            macs=options.share_of_macs,
            procedure="one-step",
            steps=0,
            image_size=options.image_size,
            scoring_images=2,
            recovery_images=0,
        )
        made = run_slimming(teacher, bundled_photographs(), settings)
        share = count_encoder_macs(made.sam).macs_modules / count_encoder_macs(teacher).macs_modules
        found[family] = {"model": name, "asked": options.share_of_macs, "reached": share}
    return found


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """The share of the teacher's time that widths take which were searched for one."""
    teacher = load_weights("mobile_sam").requires_grad_(False)
    settings = SlimConfig(
        latency=options.share_of_latency,
        widths=options.widths,
        procedure="one-step",
        steps=0,
        image_size=options.image_size,
        scoring_images=4,
        recovery_images=4,
    )
    made = run_slimming(teacher, bundled_photographs(), settings)
    shares = _in_turns(made.sam.image_encoder, teacher.image_encoder, teacher.image_size, options.repeats)
    macs_share = count_encoder_macs(made.sam).macs_modules / count_encoder_macs(teacher).macs_modules
    return {
        "asked": options.share_of_latency,
        "reached": statistics.median(shares),
        "turns": shares,
        "share_of_macs": macs_share,
    }


@torch.inference_mode()
def _in_turns(one: ImageEncoder, whole: ImageEncoder, image_size: int, repeats: int) -> list[float]:
    """Time of one encoder as a share of the other's, of each turn after one to warm up."""
    image = torch.zeros(1, 3, image_size, image_size)
    shares = []
    for _ in range(repeats + 1):
        times = [time.perf_counter()]
        for encoder in (one, whole):
            encoder(image)
            times.append(time.perf_counter())
        shares.append((times[1] - times[0]) / (times[2] - times[1]))
    return shares[1:]


class _Enough(Exception):  # noqa: N818 - no error: it ends refitting after the parts that were asked for
    pass


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak of memory of a fresh process that refits."""
    words = [sys.executable, str(Path(__file__).resolve()), "--refit", "--threads", str(options.threads)]
    words += ["--memory-size", str(options.memory_size), "--parts", str(options.parts)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def refit_here(options: argparse.Namespace) -> dict[str, Any]:
    """Refit in this process; the peak after each part."""
    encoder = _random("sam_vit_b").image_encoder
    groups = [g for g in encoder.channel_groups() if g.kind in ("embedding", "bottleneck")]
    kept = select_uniform(groups, {g.name: torch.rand(g.size) for g in groups}, 0.5)
    cut = cut_encoder(encoder, kept).requires_grad_(False)
    size = options.memory_size
    pictures = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    peaks: list[int] = []

    def count() -> None:
        peaks.append(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if len(peaks) == options.parts:
            raise _Enough

    with contextlib.suppress(_Enough):
        reconstruct(cut, encoder, kept, pictures, progress=count)
    return {"photographs": len(pictures), "image_size": size, "parts": len(peaks), "peak_bytes": peaks}


CHECKS = {"macs": macs, "latency": latency, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"one of {', '.join(CHECKS)}; all if none is named")
    parser.add_argument("--share-of-macs", type=float, default=0.3)
    parser.add_argument("--share-of-latency", type=float, default=0.5)
    parser.add_argument("--image-size", type=int, default=128, help="of the photographs that widths are searched on")
    parser.add_argument("--widths", choices=WIDTHS, default="even", help="of latency; to search them takes longer")
    parser.add_argument("--repeats", type=int, default=5, help="turns of the two encoders")
    parser.add_argument("--memory-size", type=int, default=1024, help="of the pictures that ViT-B is refitted on")
    parser.add_argument("--parts", type=int, default=6, help="of ViT-B, its first, that are refitted")
    parser.add_argument("--refit", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.checks) - set(CHECKS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(CHECKS)}")
    torch.set_num_threads(options.threads)
    if options.refit:
        print(json.dumps(refit_here(options)))
        return
    path = options.out / "budgets_met.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    protocol = (
        f"procedure one-step, nothing trained; macs: searched on the bundled photographs at {options.image_size} px, "
        f"random weights; latency: mobile_sam at 1024 px, {options.widths} widths, share of the teacher's time, both "
        f"encoders in turns, median of {options.repeats} turns; memory: peak of a process that refits the first "
        f"{options.parts} parts of sam_vit_b with random weights, cut uniformly by 0.5, on 4 pictures of "
        f"{options.memory_size} px; seed 0"
    )
    for name in options.checks or CHECKS:
        content[name] = CHECKS[name](options)
        print(name, json.dumps(content[name]), flush=True)
        write("budgets_met", protocol, content, options.out, quiet=True)


if __name__ == "__main__":
    main()
