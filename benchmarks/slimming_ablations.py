"""The ablations of SlimSAM's paper, at 512 px and with several seeds.

python benchmarks/slimming_ablations.py [--only PART] [--seeds N]

Every row is one run of `samlet.slimming.run`. A row that the result file has already, with the same settings, is not
run again, so a benchmark that was killed continues. All rows are measured on the same photographs, which no row trains
or scores on, and rows that begin with the same scores share them. Budgets are for a CPU core; the paper's is one
command away: --steps 25000 --scoring-images 1000 --recovery-images 96 --precision fp32 --images DIR
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import samlet
from common import RESULTS, shared_data, write
from samlet.data.datasets import open_dataset
from samlet.data.images import find_images
from samlet.evaluation.costs import count_encoder_macs
from samlet.models import ChannelGroup, ImageEncoder
from samlet.runs.distributed import DistributedContext
from samlet.slimming import pipeline as procedure
from samlet.slimming import stages
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.reconstruction import Reference, reconstruct
from samlet.slimming.scoring import Scorer
from samlet.slimming.selection import Kept
from samlet.slimming.validation import Validation
from samlet.training.batches import ImageDataset
from samlet.zoo import load_weights
from slimming_tables import default_images

Settings = dict[str, Any]

RATIOS = (0.5, 0.77)
CRITERIA = ("disturbed-taylor", "random", "magnitude", "hessian", "taylor")
PROCEDURES = ("alternate", "one-step")
ALPHAS = (
    ("constant", "dynamic"),  # the paper's choice and the default
    ("off", "off"),
    ("constant", "off"),
    ("off", "dynamic"),
    ("dynamic", "dynamic"),
    ("constant", "constant"),
)
"""Of bottleneck and of embedding aligning."""
PHOTOGRAPHS = (200, 50)
EVALUATED = 12
"""Photographs that every row is measured on."""
ROWS = 4096
"""Positions, over all photographs, that a layer is refitted on."""
_REMEMBERED = 12  # refitted encoders


def criteria(ratio: float) -> Iterator[tuple[str, Settings]]:
    """Criteria by procedure."""
    for name in CRITERIA:
        for order in PROCEDURES:
            yield f"{name}, {order}", {"ratio": ratio, "importance": name, "procedure": order}


def _alphas(ratio: float) -> list[tuple[str, Settings]]:
    return [
        (f"alpha {first}, then {second}", {"ratio": ratio, "bottleneck_alpha": first, "embedding_alpha": second})
        for first, second in ALPHAS
    ]


def aligning(ratio: float) -> Iterator[tuple[str, Settings]]:
    """Feature aligning on and off, and everything in one step."""
    yield from _alphas(ratio)[:2]
    yield "one step", {"ratio": ratio, "procedure": "one-step"}


def schedules(ratio: float) -> Iterator[tuple[str, Settings]]:
    """Feature aligning in one stage alone, constant against dynamic α; beside the first row of `aligning`."""
    yield from _alphas(ratio)[2:]


def photographs(ratio: float) -> Iterator[tuple[str, Settings]]:
    """How many photographs, and whether they are augmented; beside the first row of `aligning`."""
    yield "photographs as they are", {"ratio": ratio, "augment": False}
    for count in PHOTOGRAPHS:
        yield f"{count} photographs", {"ratio": ratio, "photographs": count}


PARTS = {"criteria": criteria, "aligning": aligning, "schedules": schedules, "photographs": photographs}


def rows(options: argparse.Namespace) -> Iterator[tuple[str, str, Settings]]:
    """Part, name and settings of every row, in the order in which they are run: the most telling first."""
    refitted = {"recovery_images": options.recovery_images, "learning_rate": 1e-4, "steps": 0}
    recovered = {**refitted, "steps": options.steps}
    alone = {"recovery_images": 0, "learning_rate": 1e-3, "steps": options.steps}
    some, most = RATIOS
    found = [
        (part, name, {**how, **settings})
        for part, how, ratio in (
            ("criteria", refitted, some),
            ("aligning", recovered, some),
            ("criteria", alone, some),
            ("schedules", recovered, some),
            ("criteria", refitted, most),
            ("photographs", recovered, some),
            ("criteria", alone, most),
            ("aligning", alone, some),
            ("schedules", alone, some),
            ("photographs", alone, some),
        )
        for name, settings in PARTS[part](ratio)
    ]
    found.sort(key=lambda row: row[2].get("importance") == "taylor")  # the slowest by far
    for part, name, settings in found:
        for seed in range(options.seeds):
            yield part, name, {**settings, "seed": seed}


def _digest(tensors: Iterable[Tensor], described: str) -> str:
    digest = hashlib.sha256(described.encode())
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Shared:
    """What rows have in common: photographs to be measured on with the teacher's answers, scores, refitted encoders.

    Args:
        teacher: of all rows.
        options: of the command.
    """

    def __init__(self, teacher: samlet.Sam, options: argparse.Namespace) -> None:
        found = find_images(options.images)
        step = max(2, len(found) // EVALUATED)
        self.evaluated = found[step // 2 :: step][:EVALUATED]
        self.others = [path for path in found if path not in set(self.evaluated)]
        mean, std = teacher.pixel_mean.cpu(), teacher.pixel_std.cpu()
        pictures = ImageDataset(self.evaluated, options.image_size, mean, std)
        self._engine = DistributedContext("cpu", options.precision)
        self._validation = Validation(teacher, self.evaluated, pictures, self._engine)
        self._scores: dict[str, dict[str, Tensor]] = {}
        self._refitted: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
        self._references: dict[str, Reference] = {}  # a few: by seed, number of photographs, whether augmented
        self._teacher = _digest(teacher.image_encoder.state_dict().values(), "")
        self._folder = tempfile.TemporaryDirectory(prefix="samlet-ablations-")
        self._scoring = Scorer.scores

    def install(self) -> None:
        """Let runs measure on these photographs instead of those that each holds out, and compute nothing twice."""
        shared = self

        def refitted(
            cut: ImageEncoder, whole: ImageEncoder, kept: Kept, images: Iterable[Tensor], seed: int, _: Any
        ) -> None:
            pictures = list(images)
            key = _digest([*cut.state_dict().values(), *whole.state_dict().values(), *pictures], str(seed))
            if key not in shared._refitted:
                shared._refit(cut, whole, kept, pictures, seed)
                shared._refitted[key] = {name: value.clone() for name, value in cut.state_dict().items()}
                if len(shared._refitted) > _REMEMBERED:
                    shared._refitted.popitem(last=False)
            cut.load_state_dict(shared._refitted[key])

        def remembered(scorer: Scorer, encoder: ImageEncoder, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
            key = shared._key(scorer, encoder, groups)
            if key not in shared._scores:
                shared._scores[key] = shared._scoring(scorer, encoder, groups)
            return shared._scores[key]

        setattr(procedure, "Validation", lambda *_: lambda _: {})  # noqa: B010 - a type, for mypy
        setattr(Scorer, "scores", remembered)  # noqa: B010 - a method, for mypy
        setattr(stages, "reconstruct", refitted)  # noqa: B010

    def measured(self, encoder: ImageEncoder) -> dict[str, float]:
        """Embedding error and agreement on the photographs that all rows are measured on."""
        with self._engine.compute():
            return self._validation(encoder)

    def restore(self) -> None:
        """Undo `install`."""
        setattr(procedure, "Validation", Validation)  # noqa: B010
        setattr(Scorer, "scores", self._scoring)  # noqa: B010
        setattr(stages, "reconstruct", reconstruct)  # noqa: B010

    def _key(self, scorer: Scorer, encoder: ImageEncoder, groups: Sequence[ChannelGroup]) -> str:
        """Everything that scores depend on."""
        names = ("importance", "seed", "scoring_images")
        settings = {name: getattr(scorer.config, name) for name in names}
        described = f"{settings}{[str(path) for path in scorer.photographs.paths]}{[g.name for g in groups]}"
        return _digest(encoder.state_dict().values(), described)

    def _refit(self, cut: ImageEncoder, whole: ImageEncoder, kept: Kept, pictures: list[Tensor], seed: int) -> None:
        """Refit a cut encoder; what the teacher computes on the pictures is kept for other cuts of it."""
        key = _digest([*whole.state_dict().values(), *pictures], str(seed))
        if _digest(whole.state_dict().values(), "") != self._teacher:
            with tempfile.TemporaryDirectory(prefix="samlet-ablations-") as temporary:
                Reference(whole, pictures, Path(temporary), seed, ROWS, at_once=True).refit(cut, kept)
            return
        if key not in self._references:
            folder = Path(self._folder.name) / key
            folder.mkdir()
            self._references[key] = Reference(whole, pictures, folder, seed, ROWS, keep=True, at_once=True)
        self._references[key].refit(cut, kept)

    def trained_on(self, count: int | None) -> list[Path]:
        """Photographs of a row, so many besides those that the run holds out itself."""
        if count is None:
            return self.others
        listed = next(n for n in range(count, 2 * count + 2) if n - min(24, max(1, n * 3 // 10)) == count)
        return self.others[:: len(self.others) // listed][:listed]


def one_row(settings: Settings, teacher: samlet.Sam, shared: Shared, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    config = SlimConfig(
        image_size=options.image_size,
        scoring_images=options.scoring_images,
        precision=options.precision,
        batch_size=options.batch_size,
        micro_batch=options.batch_size,
        **{name: value for name, value in settings.items() if name != "photographs"},
    )
    labels = open_dataset(options.labels, options.images) if config.importance == "taylor" else None
    made = run_slimming(teacher, shared.trained_on(settings.get("photographs")), config, labels=labels)
    return {
        "macs_modules": count_encoder_macs(made.sam).macs_modules,
        **shared.measured(made.sam.image_encoder),
        "photographs_seen": len(made.trained_on),
        "seconds": time.perf_counter() - start,
    }


def protocol(shared: Shared, options: argparse.Namespace) -> str:
    return (
        f"mobile_sam, {options.images.name} without labels, {options.image_size} px, {options.precision}; "
        f"channels scored on {options.scoring_images} photographs; recovered: cut layers refitted on {ROWS} positions "
        f"in {options.recovery_images} photographs after each cut; aligned: {options.steps} steps of "
        f"{options.batch_size} photographs over both stages, learning rate 1e-4 if recovered and 1e-3 if not; "
        "error of the embedding as a share of its variance, and agreement (mean IoU of low-resolution single masks "
        "with the teacher's, 16 points a photograph) "
        f"on the same {len(shared.evaluated)} photographs for all rows, which no row trains on; {options.seeds} seeds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=default_images())
    parser.add_argument("--labels", type=Path, help="annotated photographs for the criterion taylor")
    parser.add_argument("--steps", type=int, default=8, help="of aligning, of the rows that are aligned at all")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--scoring-images", type=int, default=8)
    parser.add_argument("--recovery-images", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--batch-size", type=int, default=2, help="photographs of a step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, help="only the rows of that part")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.labels = options.labels or shared_data() / "data" / "photos1000_masks"
    torch.set_num_threads(options.threads)
    teacher = load_weights("mobile_sam").requires_grad_(False)
    shared = Shared(teacher, options)
    told = protocol(shared, options)
    path = options.out / "slimming_ablations.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    if content.get("protocol") != told:
        content = {"rows": []}
    shared.install()
    try:
        for part, name, settings in list(rows(options))[: options.rows]:
            known = any(
                (row["part"], row["name"], row["settings"]) == (part, name, settings) for row in content["rows"]
            )
            if known or options.only not in (None, part):
                continue
            print(part, name, settings, flush=True)
            found = one_row(settings, teacher, shared, options)
            content["rows"].append({"part": part, "name": name, "settings": settings, **found})
            write("slimming_ablations", told, content, options.out, quiet=True)
            print(
                f"error {found['error']:.4f}, agreement {found['agreement']:.4f}, {found['seconds']:.0f} s", flush=True
            )
    finally:
        shared.restore()


if __name__ == "__main__":
    main()
