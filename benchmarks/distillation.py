"""The tables of distillation from `mobile_sam`: terms of the loss, recovery of slimmed encoders, prompts, and the aim.

python benchmarks/distillation.py ablation|recovery|prompts|aim [...] [--steps N] [--image-size N]

Every row is one run of `samlet.distillation.run`, evaluated on photographs with human masks that it never saw. A row
that the result file has already, with the same settings, is not run again, so a killed benchmark continues, and
several processes may work on one table (--only). Budgets are for two CPU cores; the paper's are one command away:
--steps 20000 --image-size 1024 --precision fp32 --teacher sam_vit_h --photographs DIR --masks DIR
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

import samlet
import slimming_tables
from common import RESULTS, ROOT, shared_data, write
from samlet.data.datasets import Dataset, open_dataset
from samlet.distillation.config import DistillConfig
from samlet.distillation.pipeline import run_distillation
from samlet.labelling.folder import label
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.zoo import load_weights

EASY = {"rounds": 0, "hard_masks": False}
STAGES: dict[str, dict[str, Any]] = {
    "embedding": {"token": 0, "output": 0, "mask": 0, "iou": 0, **EASY},
    "+ token": {"output": 0, "mask": 0, "iou": 0, **EASY},
    "+ output": {"mask": 0, "iou": 0, **EASY},
    "+ truth": EASY,
    "+ hard prompts": {"hard_masks": False},
    "+ hard masks": {},
}
"""Each row adds one thing to the one before; the last one is the default."""

Row = tuple[str, str, dict[str, Any]]
"""Name, student, settings of the run; `labels` and `slimmed` are the benchmark's own."""


def ablation() -> Iterator[Row]:
    for labels in ("masks", "teacher"):
        for name, settings in STAGES.items():
            if name != "embedding" or labels == "masks":  # no mask is asked for there
                yield name, "slim_50", {**settings, "labels": labels}
    yield "truth alone", "mobile_sam", {"embedding": 0, "token": 0, "output": 0, **EASY, "labels": "masks"}
    yield "+ distillation", "mobile_sam", {**EASY, "labels": "masks"}
    yield "+ hard prompts", "mobile_sam", {"hard_masks": False, "labels": "masks"}
    yield "+ hard masks", "mobile_sam", {"labels": "masks"}
    yield "+ augmentation", "mobile_sam", {"labels": "masks", "augment": True}


def recovery() -> Iterator[Row]:
    for ratio in (0.5, 0.77):
        for name in ("aligning", "distillation", "both"):
            yield f"{name}, {ratio:g}", f"{name} {ratio:g}", {"labels": "masks"}
        raw = {"embedding": 10.0, "layer_decay": 1.0, "labels": "masks"}  # what far from its teacher wants
        yield f"distillation, embedding 10, no layer decay, {ratio:g}", f"distillation {ratio:g}", raw


def prompts() -> Iterator[Row]:
    for count in (16, 64):
        for rounds in (0, 4, 9):
            yield (
                f"{rounds} rounds, {count} prompts",
                "slim_50",
                {"rounds": rounds, "prompts": count, "labels": "masks"},
            )
    yield (
        "9 rounds, 16 prompts, replace",
        "slim_50",
        {"rounds": 9, "prompts": 16, "clicks": "replace", "labels": "masks"},
    )


def aim() -> Iterator[Row]:
    yield "mobile_sam", "mobile_sam", {"labels": "masks"}
    yield "slim_50", "slim_50", {"labels": "masks"}


BUDGET = ("teacher", "photographs_used", "steps", "image_size", "prompts", "learning_rate", "precision", "limit")
TABLES = {"ablation": ablation, "recovery": recovery, "prompts": prompts, "aim": aim}


@cache
def teacher(name: str) -> samlet.Sam:
    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    return load_weights(weights if name == "mobile_sam" and weights.is_file() else name)


def student(name: str, options: argparse.Namespace) -> samlet.Sam:
    """A model to begin from: the teacher, or one slimmed from it, which is made once."""
    if name == "mobile_sam":
        return teacher(options.teacher)
    kind, _, ratio = name.partition(" ")
    if kind == "slim_50":
        folder = options.models / "slim_50"
        if not (folder / "config.json").is_file():
            samlet.save(slimmed(0.5, options.steps, options).sam, folder)
        return load_weights(folder)
    if kind == "distillation":
        return slimmed(float(ratio), 2, options).pruned
    steps = options.steps if kind == "aligning" else options.steps // 2
    return slimmed(float(ratio), steps, options).sam


def slimmed(ratio: float, steps: int, options: argparse.Namespace) -> Any:
    """A slimming run of so many steps at the benchmark's image size."""
    config = SlimConfig(
        ratio=ratio,
        steps=max(2, steps),
        image_size=options.image_size,
        scoring_images=options.scoring_images,
        recovery_images=options.recovery_images,
        precision=options.precision,
        micro_batch=options.micro_batch,
    )
    return run_slimming(teacher(options.teacher), options.photographs, config)


def dataset(labels: str, options: argparse.Namespace) -> Dataset:
    """As many photographs of each source, with its masks, or with the teacher's own."""
    chosen = options.models / "photographs"
    if not chosen.is_dir():
        gather(chosen, options)
    if labels == "masks":
        return open_dataset(options.models / "masks", chosen)
    folder = options.models / "labels"
    label(teacher(options.teacher), chosen, folder, image_size=options.label_size, workers=options.threads)
    return open_dataset(folder, chosen)


def gather(chosen: Path, options: argparse.Namespace) -> None:
    """Links to the photographs, and to their masks beside them."""
    masks = options.models / "masks"
    for folder in (chosen, masks):
        folder.mkdir(parents=True, exist_ok=True)
    share = options.photographs_used // len(options.masks)
    for source in options.masks:
        beside = any(source.glob("*.jpg"))
        for sample in open_dataset(source, None if beside else options.photographs).shuffled(0).head(share):
            (chosen / sample.path.name).symlink_to(sample.path.resolve())
            (masks / f"{sample.path.stem}.json").symlink_to((source / f"{sample.path.stem}.json").resolve())


def one_row(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    name, begin_with, settings = row
    own = {key: value for key, value in settings.items() if key != "labels"}
    base = {
        "steps": options.steps // 2 if begin_with.startswith("both") else options.steps,
        "image_size": options.image_size,
        "prompts": options.prompts,
        "learning_rate": options.learning_rate,
        "precision": options.precision,
        "micro_batch": options.micro_batch,
    }
    start = time.perf_counter()
    before = student(begin_with, options)
    made, found = before, {}
    if not begin_with.startswith("aligning"):
        config = DistillConfig(**{**base, **own})
        ended = run_distillation(teacher(options.teacher), before, dataset(settings["labels"], options), config)
        made = ended.sam
        found = {
            "losses": ended.losses,
            "held_out": {"start": ended.start, "end": ended.stage.validation},
            "images_per_second": ended.images_per_second,
            "shares_of_time": ended.parts,
        }
    if options.save:
        samlet.save(made, options.save / f"{options.table}-{name}", overwrite=True)
    return {
        "name": name,
        "student": begin_with,
        "settings": settings,
        "miou": {"start": measured(begin_with, before, options), "end": slimming_tables.miou(made, options)},
        **found,
        "seconds": time.perf_counter() - start,
    }


_MEASURED: dict[str, dict[str, Any]] = {}


def measured(name: str, sam: samlet.Sam, options: argparse.Namespace) -> dict[str, Any]:
    """mIoU of a student before it is trained, once."""
    if name not in _MEASURED:
        _MEASURED[name] = slimming_tables.miou(sam, options)
    return _MEASURED[name]


def table(name: str, options: argparse.Namespace) -> None:
    path = options.out / f"distillation_{name}.json"
    budget = {
        key: getattr(options, key)
        for key in (
            "steps",
            "image_size",
            "prompts",
            "learning_rate",
            "precision",
            "limit",
            "photographs_used",
            "teacher",
        )
    }
    protocol = (
        f"teacher {options.teacher}; {options.photographs_used} photographs (24 of them held out), as many from each "
        f"of {' and '.join(f'{path.parent.name}/{path.name}' for path in options.masks)}, with the masks there or, "
        f"without labels, the teacher's at {options.label_size or 1024} px; "
        f"{options.steps} steps of 4 photographs and {options.prompts} prompts at {options.image_size} px, "
        f"{options.precision}, learning rate {options.learning_rate:g}; mIoU: single mask, input {options.image_size}, "
        f"first {options.limit or 'all'} photographs of each set; seed 0"
    )

    def content() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.get("budget") == budget else {"budget": budget, "rows": []}

    for row in list(TABLES[name]())[: options.rows]:
        if options.only and row[0] not in options.only:
            continue
        key = {"name": row[0], "student": row[1], "settings": row[2]}
        if any({k: done[k] for k in key} == key for done in content()["rows"]):
            continue
        print(name, *row, flush=True)
        made = one_row(row, options)
        known = content()  # another process may have added some
        known["rows"].append(made)
        order = [list(other) for other in TABLES[name]()]
        known["rows"].sort(key=lambda done: order.index([done["name"], done["student"], done["settings"]]))
        write(f"distillation_{name}", protocol, known, options.out, quiet=True)
        print(json.dumps({key: made.get(key) for key in ("miou", "held_out", "seconds")}), flush=True)


def main() -> None:
    data = shared_data() / "data"
    photos = data / "photos1000" if (data / "photos1000").is_dir() else ROOT / "examples" / "photos"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--teacher", default="mobile_sam")
    parser.add_argument(
        "--photographs", type=Path, default=photos, help="to slim with, and where masks have none beside them"
    )
    parser.add_argument(
        "--masks", type=Path, nargs="+", default=[data / "bsds500" / "train", data / "photos1000_masks"]
    )
    parser.add_argument("--photographs-used", type=int, default=200)
    parser.add_argument("--label-size", type=int, help="side of the teacher's input when it labels")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--scoring-images", type=int, default=16)
    parser.add_argument("--recovery-images", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--limit", type=int, default=40, help="photographs with human masks of each set; 0 for all")
    parser.add_argument("--micro-batch", type=int, default=4, help="photographs computed at once")
    parser.add_argument("--only", action="append", metavar="NAME", help="only the rows of that name")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "distillation", help="slimmed models, labels")
    parser.add_argument("--save", type=Path, help="keep the distilled models in this folder")
    options = parser.parse_args()
    options.limit = options.limit or None
    torch.set_num_threads(options.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    for name in options.tables:
        options.table = name
        table(name, options)


if __name__ == "__main__":
    main()
