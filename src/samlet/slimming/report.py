"""What a slimming run shows: figures, a table, a picture, a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from samlet.data.datasets import Dataset
from samlet.data.images import RGBImage, read_image
from samlet.data.masks import mask_iou
from samlet.data.transforms import Frame
from samlet.errors import InputError
from samlet.evaluation.costs import Cost, cost
from samlet.evaluation.miou import Evaluation, evaluate, grid_points
from samlet.inference import Predictor
from samlet.inference.overlay import draw_masks, draw_prompts
from samlet.slimming.procedure import SlimRun

_ROWS, _CELL = 4, 400
_GRID = 6
_AREA = (0.01, 0.6)  # shares of the image that a mask worth showing covers


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlimFigures:
    """Cost and agreement of a run.

    Attributes:
        teacher_cost: of the teacher.
        cost: of the slimmed model.
        pruned: agreement of the raw pruned model with the teacher.
        aligned: agreement of the slimmed model with the teacher.
    """

    teacher_cost: Cost
    cost: Cost
    pruned: Evaluation
    aligned: Evaluation


def measure(run: SlimRun) -> SlimFigures:
    """Cost of both models, and their agreement on the photographs held out: mean IoU over point prompts."""
    dataset = Dataset(Path("held out"), "images", tuple((path, None) for path in run.held_out))

    def agreement(sam: Any) -> Evaluation:
        return evaluate(sam, dataset, "point", reference=run.teacher, image_size=run.image_size)

    return SlimFigures(
        teacher_cost=cost(run.teacher), cost=cost(run.sam), pruned=agreement(run.pruned), aligned=agreement(run.sam)
    )


def to_json(run: SlimRun, figures: SlimFigures) -> dict[str, Any]:
    """The figures under the names of the command line's contract."""
    return {
        "parameters": figures.cost.parameters,
        "encoder": dataclasses.asdict(figures.cost.encoder),
        "teacher_parameters": figures.teacher_cost.parameters,
        "teacher_encoder": dataclasses.asdict(figures.teacher_cost.encoder),
        "agreement": {
            "pruned": figures.pruned.miou["single"],
            "aligned": figures.aligned.miou["single"],
            "protocol": figures.aligned.protocol,
            "images": figures.aligned.images,
            "masks": figures.aligned.masks,
        },
        "seconds": run.seconds,
        "steps": run.steps,
        "images_per_second": run.images_per_second,
        "image_size": run.image_size,
        "cost_image_size": figures.cost.image_size,
        "photographs": {
            "trained_on": len(run.trained_on),
            "held_out": len(run.held_out),
            "skipped": {str(path): reason for path, reason in run.skipped.items()},
        },
    }


def provenance(run: SlimRun, figures: SlimFigures, teacher: str, images: str) -> dict[str, Any]:
    """Where the slimmed model comes from."""
    return {
        "method": "SlimSAM: embedding pruning, bottleneck aligning, bottleneck pruning, embedding aligning",
        "teacher": teacher,
        "images": images,
        "recipe": dataclasses.asdict(run.config),
        "figures": to_json(run, figures),
        "losses": {name: stage.losses for name, stage in run.stages.items()},
    }


def table(figures: SlimFigures) -> str:
    """Teacher, raw pruned and aligned model side by side, Markdown."""
    before, after = figures.teacher_cost, figures.cost
    size = after.image_size

    def row(name: str, c: Cost, agreement: float) -> str:
        latency = "" if c.encoder.latency_s is None else f"{c.encoder.latency_s * 1000:.0f} ms"
        return (
            f"| {name:<16} | {c.parameters / 1e6:8.2f} M | {c.encoder.macs_modules / 1e9:8.2f} G "
            f"| {c.encoder.macs_total / 1e9:8.2f} G | {latency:>9} | {agreement:9.3f} |"
        )

    return "\n".join(
        [
            "| model            | parameters | encoder MACs (modules) | encoder MACs (total) | latency | agreement |",
            "|------------------|-----------:|-----------:|-----------:|----------:|----------:|",
            row("teacher", before, 1.0),
            row("pruned, raw", after, figures.pruned.miou["single"]),
            row("pruned, aligned", after, figures.aligned.miou["single"]),
            "",
            f"MACs and encoder latency at {size} px; agreement with the teacher: {figures.aligned.protocol}, "
            f"{figures.aligned.images} photographs held out.",
        ]
    )


def write(run: SlimRun, figures: SlimFigures, folder: Path) -> None:
    """Write `comparison.png` and `report.md` into an existing folder."""
    comparison(run).save(folder / "comparison.png")
    config = run.config
    lines = [
        "# Slimming report",
        "",
        table(figures),
        "",
        f"Ratio {config.ratio:g}, {run.steps} steps of {config.batch_size} images at {run.image_size} px, "
        f"learning rate {config.learning_rate:g}, seed {config.seed}; {len(run.trained_on)} photographs to align on, "
        f"no labels; {run.seconds:.0f} s, {run.images_per_second:.2f} images a second.",
        "",
        "![teacher, raw pruned and aligned masks](comparison.png)",
        "",
        "## Losses",
        "",
        "| stage | first | last |",
        "|-------|------:|-----:|",
        *(f"| {name} | {s.losses[0]:.5g} | {s.losses[-1]:.5g} |" for name, s in run.stages.items()),
        "",
        "The losses change their meaning within a stage, as α falls (SlimSAM, eqs. 5 to 8).",
        "",
    ]
    if run.skipped:
        lines += ["## Photographs that could not be read", "", *(f"- {r}" for r in run.skipped.values()), ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def comparison(run: SlimRun) -> Image.Image:
    """Photographs held out, with the masks of teacher, raw pruned and aligned model for one point, side by side."""
    models = {"teacher": run.teacher, "pruned, raw": run.pruned, "pruned, aligned": run.sam}
    rows = []
    for path in run.held_out:
        try:
            image = read_image(path)
        except InputError:
            continue
        point = _telling_point(run, image)
        masks = {}
        for name, sam in models.items():
            predictor = Predictor(sam, run.image_size)
            predictor.set_image(image)
            masks[name] = predictor.predict(points=point, multimask=False).masks[0, 0]
        rows.append((image, point, masks))
        if len(rows) == _ROWS:
            break
    font = ImageFont.load_default(size=18)
    heights = [round(_CELL * image.shape[0] / image.shape[1]) for image, _, _ in rows]
    sheet = Image.new("RGB", (_CELL * len(models), sum(heights) + 28 * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for (image, point, masks), height in zip(rows, heights, strict=True):
        for column, (name, mask) in enumerate(masks.items()):
            agreement = "" if name == "teacher" else f": IoU {mask_iou(masks['teacher'], mask):.2f}"
            draw.text((column * _CELL + 6, top + 4), name + agreement, fill="black", font=font)
            cell = draw_prompts(draw_masks(image, [mask]), point)
            sheet.paste(cell.resize((_CELL - 4, height - 4), Image.Resampling.LANCZOS), (column * _CELL + 2, top + 28))
        top += height + 28
    return sheet


def _telling_point(run: SlimRun, image: RGBImage) -> np.ndarray:
    """The point, (1, 2), of the middle of a grid where the teacher is surest of a mask neither dust nor everything."""
    predictor = Predictor(run.teacher, run.image_size)
    predictor.set_image(image)
    frame = Frame(image.shape[0], image.shape[1], run.image_size)
    points = grid_points(frame, _GRID).reshape(_GRID, _GRID, 1, 2)[1:-1, 1:-1].reshape(-1, 1, 2)
    answer = predictor.predict(points=points, multimask=False)
    area = answer.masks[:, 0].mean(axis=(1, 2))
    fits = (area >= _AREA[0]) & (area <= _AREA[1])
    return points[int(np.argmax(answer.iou[:, 0] + fits))]
