"""The tables of slimming `mobile_sam`: importance, selection, switches, curves over sizes, and two longer runs.

python benchmarks/slimming_tables.py importance|selection|switches|curve|longer|budgets [...]
    [--steps N] [--image-size N]

Every row is one run of `samlet.slimming.run`, evaluated on photographs held out (agreement with the teacher) and on
photographs with human masks. A row that the result file has already, with the same settings, is not run again, so a
killed benchmark continues. Budgets are for two CPU cores; the paper's are one command away:
--steps 25000 --image-size 1024 --precision fp32 --images DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from samlet.data.datasets import Dataset, open_dataset, plain_images
from samlet.data.images import find_images
from samlet.evaluation.costs import count_encoder_macs
from samlet.models import SamConfig, build_encoder
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.zoo import load_weights

PAPER = {"whole_heads": False, "recovery_images": 0, "loss": "relative"}
"""The published method, but for errors relative to the variance; without recovery the best rate found is 1e-3."""

OURS: dict[str, Any] = {}
"""The defaults."""

RATIOS = (0.5, 0.77)
CURVE = (0.25, 0.4, 0.5, 0.65, 0.77, 0.85)
BUDGETS = ("10.9G", "4.1G", "21.9G")  # what the ratios 0.5, 0.77 and 0.25 of the curve cost
Settings = dict[str, Any]


def importance() -> Iterator[tuple[str, Settings]]:
    criteria: dict[str, Settings] = {
        "random": {"importance": "random"},
        "magnitude": {"importance": "magnitude"},
        "taylor (labels)": {"importance": "taylor"},
        "disturbed taylor": {"importance": "disturbed-taylor"},
        "hessian": {"importance": "hessian"},
    }
    base = {**PAPER, "learning_rate": 1e-3}
    for ratio in RATIOS:
        for procedure in ("alternate", "one-step"):
            for name, settings in criteria.items():
                yield name, {**base, "ratio": ratio, "procedure": procedure, **settings}
    for ratio in RATIOS:
        for name in ("disturbed taylor", "random"):
            yield name, {**base, "ratio": ratio, "procedure": "alternate", **criteria[name], "seed": 1}


def selection() -> Iterator[tuple[str, Settings]]:
    for ratio in RATIOS:
        for name in ("uniform", "gaussian", "mean", "max", "sum", "standardization"):
            yield name, {**PAPER, "learning_rate": 1e-3, "ratio": ratio, "selection": name}


def switches() -> Iterator[tuple[str, Settings]]:
    base = {**PAPER, "learning_rate": 1e-3}
    recovery = {"recovery_images": 64, "learning_rate": 1e-4}
    heads = {"whole_heads": True}
    variants: dict[str, Settings] = {
        "none": {},
        "(b) whole heads": heads,
        "(c) recovery, learning rate 1e-4": recovery,
        "none, learning rate 1e-4": {"learning_rate": 1e-4},
        "(b) + (c)": {**heads, **recovery},
    }
    for ratio in RATIOS:
        for name, settings in variants.items():
            yield name, {**base, "ratio": ratio, **settings}


def curve() -> Iterator[tuple[str, Settings]]:
    for ratio in CURVE:
        yield f"{ratio:g}", {**OURS, "ratio": ratio}


def budgets() -> Iterator[tuple[str, Settings]]:
    """Widths that were searched for a budget beside the even cut of the same cost."""
    for macs in BUDGETS:
        for widths in ("searched", "even"):
            yield f"{macs}, {widths}", {**OURS, "procedure": "one-step", "macs": macs, "widths": widths}


def longer() -> Iterator[tuple[str, Settings]]:
    """The two ratios of the paper, for budgets that are larger than the curve's."""
    for ratio in RATIOS:
        yield f"{ratio:g}", {**OURS, "ratio": ratio, "learning_rate": 2e-4}


TABLES = {
    "importance": importance,
    "selection": selection,
    "switches": switches,
    "curve": curve,
    "longer": longer,
    "budgets": budgets,
}


def human_data() -> dict[str, Dataset]:
    data = shared_data() / "data"
    places = {"bsds500_val": data / "bsds500" / "val", "coco100_train": data / "coco100_train" / "instances.json"}
    return {name: open_dataset(path) for name, path in places.items() if path.exists()}


def miou(sam: samlet.Sam, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, data in human_data().items():
        for prompt in ("point", "box"):
            result = samlet.evaluate(
                sam, data, prompt, image_size=options.image_size, limit=options.limit, progress=False, rules=("single",)
            )
            found[f"{name}_{prompt}"] = result.miou["single"]
    return found


def agreement(sam: samlet.Sam, teacher: samlet.Sam, held_out: list[Path], size: int) -> float:
    data = plain_images("held out", held_out)
    result = samlet.evaluate(sam, data, "point", reference=teacher, image_size=size, progress=False, rules=("single",))
    return result.miou["single"]


def _searched_before(name: str, teacher: samlet.Sam, options: argparse.Namespace) -> Settings:
    """The widths of the same row with another number of steps, so that they are searched once."""
    for path in sorted(options.out.glob(f"slimming_{options.table}_*.json")):
        for row in json.loads(path.read_text())["rows"]:
            if row["name"] == name and row["settings"].get("macs"):
                config = SamConfig.from_dict({**teacher.config.to_dict(), "encoder": row["encoder"]})
                return {"macs": None, "widths": "searched", "like": config.encoder}
    return {}


def one_row(
    name: str, settings: Settings, teacher: samlet.Sam, options: argparse.Namespace, known: Settings
) -> dict[str, Any]:
    config = SlimConfig(
        **{
            "steps": options.steps,
            "image_size": options.image_size,
            "scoring_images": options.scoring_images,
            "precision": options.precision,
            "micro_batch": options.micro_batch,
            "augment": True,
            **settings,
            **known,
        }
    )
    labels = None
    if config.importance == "taylor":
        masks = shared_data() / "data" / "photos1000_masks"
        labels = open_dataset(masks, options.images) if masks.is_dir() else open_dataset(options.labels)
    made = run_slimming(teacher, find_images(options.images), config, labels=labels)
    if options.save:
        folder = options.save / f"{options.table}-{name}-{config.size}-{config.seed}".replace(" ", "_")
        samlet.save(made.sam, folder, overwrite=True)
    macs = count_encoder_macs(made.sam)
    return {
        "name": name,
        "settings": settings,
        "parameters": sum(p.numel() for p in made.sam.image_encoder.parameters()),
        "macs_modules": macs.macs_modules,
        "macs_total": macs.macs_total,
        "agreement": {
            "pruned": agreement(made.pruned, made.teacher, made.held_out, made.image_size),
            "aligned": agreement(made.sam, made.teacher, made.held_out, made.image_size),
        },
        "miou": miou(made.sam, options),
        "allocation": None if made.allocation is None else made.allocation.to_dict(),
        "refitted_on": made.refitted_on,
        "embedding_error": {name: stage.validation["error"] for name, stage in made.stages.items()},
        "seconds": made.seconds,
        "encoder": SamConfig(encoder=made.sam.config.encoder).to_dict()["encoder"],
    }


def latencies(rows: list[dict[str, Any]], teacher: samlet.Sam, repeats: int) -> dict[str, float]:
    """Median seconds of an encoder pass of one 1024x1024 image, models in turns."""
    encoders = {"teacher": build_encoder(teacher.config.encoder).eval()}
    for row in rows:
        encoders[row["name"]] = build_encoder(
            SamConfig.from_dict({**teacher.config.to_dict(), "encoder": row["encoder"]}).encoder
        ).eval()
    image = torch.randn(1, 3, 1024, 1024)
    found: dict[str, list[float]] = {name: [] for name in encoders}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, encoder in encoders.items():
                start = time.perf_counter()
                encoder(image)
                if turn:
                    found[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def table(name: str, options: argparse.Namespace, teacher: samlet.Sam) -> None:
    name = f"{name}_{options.steps}" if name == "budgets" else name
    path = options.out / f"slimming_{name}.json"
    budget = {
        "steps": options.steps,
        "image_size": options.image_size,
        "scoring_images": options.scoring_images,
        "precision": options.precision,
        "limit": options.limit,
        "photographs": options.images.name,
    }
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if content.get("budget") != budget:
        content = {"budget": budget, "teacher": {}, "rows": []}
    if not content["teacher"]:
        content["teacher"] = {
            "parameters": sum(p.numel() for p in teacher.image_encoder.parameters()),
            "miou": miou(teacher, options),
            **dataclasses.asdict(count_encoder_macs(teacher)),
        }
    protocol = (
        f"teacher mobile_sam; {options.images.name} without labels; {options.steps} steps of 4 photographs at "
        f"{options.image_size} px, {options.precision}, augmented; {options.scoring_images} scoring photographs; "
        f"agreement: point prompts (4x4 grid), single mask, photographs held out; mIoU: single mask, input "
        f"{options.image_size}, first {options.limit or 'all'} images of each set; "
        "seed 0 where a row names none; MACs at 1024"
    )
    write(f"slimming_{name}", protocol, content, options.out, quiet=True)
    for row_name, settings in list(TABLES[options.table]())[: options.rows]:
        if options.only not in (None, row_name):
            continue
        if any(row["name"] == row_name and row["settings"] == settings for row in content["rows"]):
            continue
        print(name, row_name, settings, flush=True)
        row = one_row(row_name, settings, teacher, options, _searched_before(row_name, teacher, options))
        content = json.loads(path.read_text())  # another process may have added some
        content["rows"].append(row)
        write(f"slimming_{name}", protocol, content, options.out, quiet=True)
        last = content["rows"][-1]
        print(json.dumps({key: last[key] for key in ("agreement", "miou", "macs_modules", "seconds")}), flush=True)
    if name == "curve" and options.repeats:
        content["latency_s"] = latencies(content["rows"], teacher, options.repeats)
        write(f"slimming_{name}", protocol, content, options.out, quiet=True)


def default_images() -> Path:
    photos = shared_data() / "data" / "photos1000"
    return photos if photos.is_dir() else ROOT / "examples" / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--images", type=Path, default=default_images())
    parser.add_argument("--labels", type=Path, help="annotated photographs for the criterion taylor")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--scoring-images", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--limit", type=int, default=50, help="photographs with human masks of each set; 0 for all")
    parser.add_argument("--micro-batch", type=int, default=4, help="photographs computed at once")
    parser.add_argument("--only", metavar="NAME", help="only the rows of that name")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--repeats", type=int, default=10, help="latency measurements of each model of the curve")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--save", type=Path, help="keep the slimmed models in this folder")
    options = parser.parse_args()
    options.limit = options.limit or None
    torch.set_num_threads(options.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    teacher = load_weights("mobile_sam")
    for name in options.tables:
        options.table = name
        table(name, options, teacher)


if __name__ == "__main__":
    main()
