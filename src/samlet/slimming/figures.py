"""Figures of a slimming run: what both models cost, how far they agree, as JSON and as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from samlet.checkpoints.storage import weight_bytes
from samlet.data.datasets import plain_images
from samlet.evaluation.costs import Cost, cost
from samlet.evaluation.miou import Evaluation, evaluate
from samlet.io.progress import progress_bar, whole
from samlet.reporting import markdown
from samlet.slimming.pipeline import SlimRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlimFigures:
    """Cost and agreement of a run.

    Attributes:
        teacher_cost: of the teacher.
        cost: of the slimmed model.
        pruned: agreement of the raw pruned model with the teacher.
        aligned: agreement of the slimmed model with the teacher.
        teacher_bytes: of the teacher's weights in each of `checkpoints.storage.STORES`.
        bytes: of the slimmed model's.
    """

    teacher_cost: Cost
    cost: Cost
    pruned: Evaluation
    aligned: Evaluation
    teacher_bytes: dict[str, int]
    bytes: dict[str, int]


def measure(run: SlimRun) -> SlimFigures:
    """Cost of both models, and their agreement on the photographs held out: mean IoU over point prompts."""
    dataset = plain_images("held out", run.held_out)

    def agreement(sam: Any) -> Evaluation:
        return evaluate(sam, dataset, "point", reference=run.teacher, image_size=run.image_size, rules=("single",))

    with whole("image", 2 * len(run.held_out)):
        pruned, aligned = agreement(run.pruned), agreement(run.sam)
        with progress_bar("timing the encoders", "model", 2) as bar:
            costs = []
            for sam in (run.teacher, run.sam):
                costs.append(cost(sam, run.teacher.image_size))
                bar.update()
    return SlimFigures(
        teacher_cost=costs[0],
        cost=costs[1],
        pruned=pruned,
        aligned=aligned,
        teacher_bytes=weight_bytes(run.teacher) or {},
        bytes=weight_bytes(run.sam) or {},
    )


def to_json(run: SlimRun, figures: SlimFigures) -> dict[str, Any]:
    """The figures under the names of the command line's contract."""
    return {
        "parameters": figures.cost.parameters,
        "encoder": dataclasses.asdict(figures.cost.encoder),
        "teacher_parameters": figures.teacher_cost.parameters,
        "teacher_encoder": dataclasses.asdict(figures.teacher_cost.encoder),
        "weights_bytes": figures.bytes,
        "teacher_weights_bytes": figures.teacher_bytes,
        "agreement": {
            "pruned": figures.pruned.miou["single"],
            "aligned": figures.aligned.miou["single"],
            "protocol": figures.aligned.protocol,
            "images": figures.aligned.images,
            "masks": figures.aligned.masks,
        },
        "allocation": None if run.allocation is None else run.allocation.to_dict(),
        "seconds": run.seconds,
        "steps": run.steps,
        "images_per_second": run.images_per_second,
        "image_size": run.image_size,
        "cost_image_size": figures.cost.image_size,
        "photographs": {
            "trained_on": len(run.trained_on),
            "held_out": len(run.held_out),
            "skipped": sorted({path.name for path in run.skipped} | {Path(p).name for p in figures.aligned.skipped}),
        },
    }


def table(figures: SlimFigures) -> str:
    """Teacher, raw pruned and aligned model side by side, Markdown that reads well as text too."""
    before, after = figures.teacher_cost, figures.cost

    def row(name: str, c: Cost, stored: dict[str, int], agreement: float) -> tuple[str, ...]:
        latency = "" if c.encoder.latency_s is None else f"{c.encoder.latency_s * 1000:.0f} ms"
        macs = (f"{count / 1e9:.1f} G" for count in (c.encoder.macs_modules, c.encoder.macs_total))
        sizes = (f"{stored[store] / 1e6:.1f} MB" if store in stored else "" for store in ("float32", "int8"))
        return name, f"{c.parameters / 1e6:.2f} M", *sizes, *macs, latency, f"{agreement:.3f}"

    rows = [
        (
            "model",
            "parameters",
            "as float32",
            "as int8",
            "encoder MACs (modules)",
            "encoder MACs (total)",
            "encoder latency",
            "agreement",
        ),
        row("teacher", before, figures.teacher_bytes, 1.0),
        row("pruned, raw", after, figures.bytes, figures.pruned.miou["single"]),
        row("pruned, aligned", after, figures.bytes, figures.aligned.miou["single"]),
    ]
    return "\n".join(
        [
            *markdown.table(rows, "right"),
            "",
            f"MACs and encoder latency at {after.image_size} px, the model's size unless --image-size says another. "
            f"Agreement with the teacher: mean IoU, {figures.aligned.protocol}, {figures.aligned.images} photographs "
            "held out. As float32, as int8: bytes of the weights stored so, of either model (`samlet save --store`).",
        ]
    )
