"""SlimSAM's two aligning stages: samlet's objectives against a plain loop that works as the published code does.

python benchmarks/aligning_speed.py [--model mobile_sam] [--ratio 0.5] [--steps 20] [--image-size 512] [--rounds 2]
    [--micro-batch 4] [--threads 2]

The plain loop does what the published one does (github.com/czg1225/SlimSAM: prune_distill_step1.py,
prune_distill_step2.py, image_encoder.py): every model that runs gathers the features of all its blocks on every step
(queries, keys and values; hidden layers; the stream before and after each MLP) and joins those of like kind to one
tensor, one block after the other. In the first stage they are compared while α is not 0; in the second always, times α,
and both teachers always run. Its variables live until the next step sets them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from common import RESULTS, write
from samlet.models import ImageEncoder, Sam
from samlet.models.modes import whole_layers
from samlet.slimming.alpha import Alpha
from samlet.slimming.config import ERRORS, ErrorName
from samlet.slimming.importance import channel_scores, group_parameters, magnitude
from samlet.slimming.losses import BottleneckAligning, EmbeddingAligning, observed
from samlet.slimming.selection import select_uniform
from samlet.slimming.surgery import cut_encoder
from samlet.zoo import find, load_weights

BATCH = 4
LEARNING_RATE = 1e-4
ALPHAS = {"bottleneck": Alpha(name="constant"), "embedding": Alpha(name="dynamic")}
"""The stages, by what they align, and the schedule of α in each."""


def models(name: str, ratio: float) -> tuple[ImageEncoder, ImageEncoder, ImageEncoder]:
    """Teacher v0, v1 with narrower embeddings, v2 with narrower bottlenecks too; all frozen."""
    entry = find(name)
    config = entry.sam_config()
    sam = load_weights(name) if entry.embedded or config is None else Sam(config)
    encoders = [sam.image_encoder]
    for kind in ("embedding", "bottleneck"):
        groups = [group for group in encoders[-1].channel_groups() if group.kind == kind]
        scores = channel_scores(magnitude(group_parameters(encoders[-1], groups)), groups)
        encoders.append(cut_encoder(encoders[-1], select_uniform(groups, scores, ratio)))
    v0, v1, v2 = (encoder.requires_grad_(False) for encoder in encoders)
    return v0, v1, v2


def kinds(encoder: ImageEncoder) -> dict[str, list[str]]:
    """Names of the modules whose outputs (or inputs, after `>`) the published code gathers, by kind."""
    inside, blocks = encoder.bottleneck_features(), encoder.embedding_features()
    modules = dict(encoder.named_modules())
    streams = []
    for block in blocks:
        middle = next((f">{block}.{norm}" for norm in ("norm2", "mlp.norm") if f"{block}.{norm}" in modules), None)
        streams += [block] if middle is None else [block, middle]
    return {
        "qkv": [name for name in inside if name.endswith("qkv")],
        "hidden": [name for name in inside if not name.endswith("qkv")],
        "streams": streams,
    }


def in_memory_order(feature: Tensor) -> Tensor:
    """(N,) view of a feature in either layout, so that joining copies it once."""
    return feature.flatten() if feature.is_contiguous() else feature.permute(0, 2, 3, 1).flatten()


def gather(encoder: ImageEncoder, images: Tensor, names: dict[str, list[str]]) -> tuple[Tensor, ...]:
    """Embedding (B, C, h, w), and the features of all blocks as one tensor (N,) for each kind.

    With grad mode on, a frozen encoder records no graph either, and computes its layers whole.
    """
    features: dict[str, Tensor] = {}
    every = [name for members in names.values() for name in members]

    def keep_input(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, arguments: features.__setitem__(name, arguments[0])

    inputs = [encoder.get_submodule(n[1:]).register_forward_pre_hook(keep_input(n)) for n in every if n[0] == ">"]
    outputs = [name for name in every if name[0] != ">"]
    with whole_layers(), torch.enable_grad(), observed(encoder, outputs, features.__setitem__):
        embedding = encoder(images)
    for handle in inputs:
        handle.remove()
    joined = []
    for members in names.values():
        one = in_memory_order(features[members[0]])
        for name in members[1:]:
            one = torch.cat([one, in_memory_order(features[name])])
        joined.append(one)
    return embedding, *joined


def plain_bottleneck(student: ImageEncoder, teacher: ImageEncoder, images: Tensor, adam: Adam, steps: int) -> None:
    names = kinds(teacher)
    for step in range(steps):
        alpha = ALPHAS["bottleneck"](step, steps)
        adam.zero_grad(set_to_none=True)
        for image in images.split(1):
            target, target_qkv, target_hidden, target_streams = gather(teacher, image, names)
            embedding, qkv, hidden, streams = gather(student, image, names)
            if alpha:
                loss = (1 - alpha) * F.mse_loss(embedding, target)
                loss = loss + alpha * F.mse_loss(qkv, target_qkv) + alpha * F.mse_loss(hidden, target_hidden)
            else:
                loss = F.mse_loss(embedding, target)
            (loss / BATCH).backward()
        adam.step()
    del target_streams, streams


def plain_embedding(
    student: ImageEncoder, teacher: ImageEncoder, middle: ImageEncoder, images: Tensor, adam: Adam, steps: int
) -> None:
    names = kinds(teacher)
    for step in range(steps):
        alpha = ALPHAS["embedding"](step, steps)
        adam.zero_grad(set_to_none=True)
        for image in images.split(1):
            target, target_qkv, target_hidden, target_streams = gather(teacher, image, names)
            middle_target, middle_qkv, middle_hidden, middle_streams = gather(middle, image, names)
            embedding, qkv, hidden, streams = gather(student, image, names)
            loss = (1 - alpha) * F.mse_loss(embedding, target) + alpha * F.mse_loss(streams, middle_streams)
            loss = loss + alpha * F.mse_loss(embedding, middle_target)
            (loss / BATCH).backward()
        adam.step()
    del target_qkv, target_hidden, target_streams, middle_qkv, middle_hidden, qkv, hidden


def memory() -> tuple[int, int]:
    """Bytes that this process holds now, and the most that it held."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: its ru_maxrss remembers the process that this one was started from
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in fields:
            return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def measure(variant: str, stage: str, micro_batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Train one stage in this process."""
    torch.manual_seed(0)
    v0, v1, v2 = models(options.model, options.ratio)
    student = (v1 if stage == "bottleneck" else v2).requires_grad_(True)
    images = torch.randn(BATCH, 3, options.image_size, options.image_size)
    adam = Adam(student.parameters(), lr=LEARNING_RATE)
    objective: BottleneckAligning | EmbeddingAligning
    if stage == "bottleneck":
        objective = BottleneckAligning(student, v0, error=options.loss)
    else:
        objective = EmbeddingAligning(student, v0, v1, error=options.loss)
    baseline = memory()[0]
    start = time.perf_counter()
    if variant == "plain" and stage == "bottleneck":
        plain_bottleneck(student, v0, images, adam, options.steps)
    elif variant == "plain":
        plain_embedding(student, v0, v1, images, adam, options.steps)
    else:
        for step in range(options.steps):
            adam.zero_grad(set_to_none=True)
            for part in images.split(micro_batch):
                alpha = ALPHAS[stage](step, options.steps)
                (objective(part, alpha) * (micro_batch / BATCH)).backward()
            adam.step()
    seconds = time.perf_counter() - start
    peak = memory()[1]
    return {"seconds": seconds, "peak_bytes": peak, "peak_increase_bytes": peak - baseline}


def in_fresh_process(variant: str, stage: str) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", variant, stage]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def summary(runs: list[dict[str, float]], images: int) -> dict[str, Any]:
    """Medians over the rounds."""
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {
        "images_per_second": images / median["seconds"],
        "peak_bytes": round(median["peak_bytes"]),
        "peak_increase_bytes": round(median["peak_increase_bytes"]),
        "seconds": [run["seconds"] for run in runs],
    }


def against_plain(stages: dict[str, dict[str, Any]], plain: dict[str, dict[str, Any]]) -> dict[str, float]:
    def seconds_an_image(found: dict[str, dict[str, Any]]) -> float:
        return sum(1 / stage["images_per_second"] for stage in found.values())

    def most(found: dict[str, dict[str, Any]], key: str) -> int:
        return max(stage[key] for stage in found.values())

    return {
        "speed_ratio": seconds_an_image(plain) / seconds_an_image(stages),
        "peak_ratio": most(stages, "peak_bytes") / most(plain, "peak_bytes"),
        "peak_increase_ratio": most(stages, "peak_increase_bytes") / most(plain, "peak_increase_bytes"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobile_sam", help="of the zoo; random weights if they are not shipped")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--loss", choices=ERRORS, default="relative", help="samlet's; the plain loop's is mse")
    parser.add_argument("--micro-batch", type=int, choices=(2, 4), help="measure samlet with that too")
    parser.add_argument("--steps", type=int, default=20, help="of each stage")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    micro_batches = {"plain": 1, "samlet": 1}
    if options.micro_batch:
        micro_batches[f"samlet_micro_batch_{options.micro_batch}"] = options.micro_batch
    if options.worker:
        variant, stage = options.worker
        print(json.dumps(measure(variant, stage, micro_batches[variant], options)))
        return

    runs: dict[tuple[str, str], list[dict[str, float]]] = {(v, s): [] for v in micro_batches for s in ALPHAS}
    for number in range(options.rounds):
        for stage in ALPHAS:
            for variant in list(micro_batches)[:: -1 if number % 2 else 1]:
                runs[variant, stage].append(in_fresh_process(variant, stage))
                print(f"round {number + 1}, {stage} aligning, {variant}: {runs[variant, stage][-1]}", file=sys.stderr)
    images = options.steps * BATCH
    results = {v: {stage: summary(runs[v, stage], images) for stage in ALPHAS} for v in micro_batches}
    ratios = {v: against_plain(results[v], results["plain"]) for v in micro_batches if v != "plain"}
    loss: ErrorName = options.loss
    size = options.image_size
    write(
        "aligning_speed",
        f"{options.model} cut uniformly by {options.ratio:g}, {size}x{size}, float32; {options.steps} steps of Adam a "
        f"stage over {BATCH} images each, one at a time where no micro-batch is named; a fresh process for each "
        f"variant and stage, in turns, medians of {options.rounds} rounds; time of the steps alone; peak: resident "
        "memory of the process, increase: that less what it held before the first step; ratios: samlet over plain, "
        "speed over both stages together, peaks of whichever stage needs more. Both run samlet's encoders, so only "
        "the loops are compared. plain: the published loop (mse, all features gathered and joined on every step, its "
        "variables kept until the next); "
        f"samlet: its objectives with the loss {loss}",
        {
            "model": options.model,
            "image_size": size,
            "steps": options.steps,
            **results,
            **ratios.pop("samlet"),
            "more_ratios": ratios,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
