"""What a distillation run shows: figures, a table, pictures, a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from samlet.data.images import RGBImage, fingerprint
from samlet.data.masks import Mask, decode_rle, mask_iou
from samlet.data.samples import Sample
from samlet.distillation.calibration import Calibration
from samlet.distillation.config import CLICKS, TRAINED, WEIGHTS
from samlet.distillation.pipeline import STAGE, DistillRun
from samlet.errors import InputError
from samlet.inference import Predictor
from samlet.io.progress import progress_bar
from samlet.io.writing import new_file
from samlet.reporting import markdown
from samlet.reporting.contact_sheet import DIFFERENCE, Cell, sheet_of
from samlet.reporting.plots import GRID, figure_image, smoothed
from samlet.reporting.result import RunResult
from samlet.runs.precision import PRECISIONS
from samlet.training.settings import SCHEDULES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 4
_MEASURED = ("point", "box")
_COLOURS = ("#1a202c", "#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280")


def to_json(run: DistillRun) -> dict[str, Any]:
    """The figures under the names of the command line's contract."""
    validation = run.stage.validation
    return {
        "losses": run.losses,
        "seconds": run.seconds,
        "steps": len(run.stage.losses),
        "images_per_second": run.images_per_second,
        "image_size": run.image_size,
        "model_image_size": run.sam.image_size,
        "calibration": None if run.calibration is None else dataclasses.asdict(run.calibration),
        "shares_of_time": run.parts,
        "held_out": {
            "photographs": len(run.held_out),
            "protocol": "single mask at low resolution, prompts the annotated or innermost point and the tight box",
            "start": run.start,
            "end": validation,
        },
        "photographs": {
            "trained_on": run.trained_on,
            "held_out": len(run.held_out),
            "skipped": sorted(path.name for path in run.skipped),
        },
    }


def provenance(run: DistillRun, teacher: str, student: str) -> dict[str, Any]:
    """Where the student comes from; the names of models are for people, the fingerprints tell."""
    names = [sample.path for sample in run.dataset.share(0, 1)] if run.dataset.kind == "sa1b" else []
    return {
        "method": "full-stage distillation",
        "parents": [
            {"name": student, "weights_sha256": run.origin.fingerprint(), "role": "student"},
            {"name": teacher, "weights_sha256": run.teacher.fingerprint(), "role": "teacher"},
        ],
        "data": {
            "name": run.dataset.path.name,
            "photographs": run.trained_on,
            "sha256": fingerprint(names) if all(path.is_file() for path in names) and names else None,
            "held_out": run.held_out,
        },
        "recipe": run.config.to_dict(),
    }


def table(run: DistillRun) -> str:
    """Every term at the start and at the end, in training and on photographs held out; Markdown that reads as text."""
    rows: list[tuple[str, ...]] = [("", "training, first", "last", "held out, start", "end")]
    losses, end = run.losses, run.stage.validation
    for name in (*WEIGHTS, *_MEASURED):
        trained = [f"{losses[name][at]:.5f}" for at in ("first", "last")] if name in losses else ["", ""]
        held = [f"{found[name]:.5f}" if name in found else "" for found in (run.start, end)]
        rows.append((f"mIoU, {name}" if name in _MEASURED else name, *trained, *held))
    rows = [row for row in rows if any(row[1:])]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in run.parts.items())
    return "\n".join(
        [
            *markdown.table(rows, "right"),
            "",
            f"Training: means over the first and the last tenth of {len(run.stage.losses)} steps. Held out: "
            f"{len(run.held_out)} photographs, easy prompts, single mask at low resolution.",
            f"{run.images_per_second:.2f} photographs a second; of the time: {shares}.",
        ]
    )


def pictures(run: DistillRun, labelled_by: str | None = None) -> dict[str, Callable[[], Image.Image]]:
    """What draws each picture; `labelled_by` names the model whose masks stand in for true ones, if one does."""
    return {
        "comparison": lambda: sheet_of(
            comparison(run, labelled_by), f"data: {run.dataset.path.name}, held out; {DIFFERENCE}"
        ),
        "losses": lambda: figure_image(losses_figure(run)),
    }


def result(run: DistillRun, labelled_by: str | None = None, folder: Path | None = None) -> RunResult:
    """Figures and pictures for Python."""
    found = RunResult(
        f"distilled: {len(run.stage.losses)} steps at {run.image_size} px",
        lambda: to_json(run),
        lambda: table(run),
        pictures(run, labelled_by),
        folder,
    )
    _ = found.figures
    return found


def write(run: DistillRun, folder: Path, labelled_by: str | None = None) -> None:
    """Write `report.md` and its pictures beside the model: `comparison.png`, `losses.png`."""
    drawn = pictures(run, labelled_by)
    with progress_bar("drawing pictures", "picture", len(drawn)) as bar:
        for name, draw in drawn.items():
            with new_file(folder / f"{name}.png") as temporary:
                draw().save(temporary, format="PNG")
            bar.update()
    true = "true masks" if labelled_by is None else f"pseudo-labels (masks of {labelled_by})"
    lines = [
        "# Distillation report",
        "",
        table(run),
        "",
        f"{len(run.stage.losses)} steps of {run.config.batch_size} photographs at {run.image_size} px, learning rate "
        f"{run.config.learning_rate:g}, seed {run.config.seed}; {run.trained_on} photographs to train on; "
        f"{run.seconds:.0f} s.",
        "",
        *(
            [
                f"The photographs came without masks: {labelled_by} made them, so they are pseudo-labels, and mIoU "
                "held out is agreement with them and not accuracy.",
                "",
            ]
            if labelled_by is not None
            else ()
        ),
        f"![{true}, teacher's, student's before and after](comparison.png)",
        "",
        "![every term of the loss, and mean IoU on photographs held out](losses.png)",
        "",
        "## Settings",
        "",
        *(f"- **{name}** {value}" for name, value in settings(run).items()),
        "",
        "All of them stand in `provenance.json`.",
        "",
    ]
    if run.skipped:
        lines += ["## Photographs that could not be used", "", *(f"- {reason}" for reason in run.skipped.values()), ""]
    markdown.write_lines(folder / "report.md", lines)


def settings(run: DistillRun) -> dict[str, str]:
    """The settings that figures depend on, in words."""
    config = run.config
    return {
        "trained": TRAINED[config.train if config.decodes else "encoder"],
        "weights": ", ".join(f"{name} {getattr(config, name):g}" for name in WEIGHTS),
        "hard masks": "weighted by eq. 6, mean 1" if config.hard_masks else "off",
        "prompts": f"{config.prompts} a step, {config.boxes:.0%} boxes; 0 to {config.rounds} rounds of hard prompts, "
        f"each as likely: {CLICKS[config.clicks]}",
        "learning rate": f"{config.learning_rate:g} at its peak, {config.schedule}: {SCHEDULES[config.schedule]}; "
        f"{config.layer_decay:g} from block to block",
        "batch": f"{config.batch_size} photographs, {config.micro_batch} at once at most; gradients clipped at "
        f"{config.clip:g}",
        "views": "mirrored, scaled and coloured at random" if config.augment else "as they are",
        "precision": f"{config.precision}: {PRECISIONS[config.precision]}",
        "processes": f"{run.processes}",
        **(
            {
                "budget of time": f"{run.minutes:g} minutes; the same weights without a clock: `--steps "
                f"{len(run.stage.losses)}` in place of `--minutes {run.minutes:g}`"
            }
            if run.minutes is not None
            else {}
        ),
        "calibrated": "no" if run.calibration is None else _in_words(run.calibration),
    }


def _in_words(made: Calibration) -> str:
    return (
        f"after training, with {made.photographs} photographs: predicted IoU × {made.iou_factor:.3g} "
        f"{made.iou_offset:+.3g}, mask logits × {made.logit_factor:.3g}"
    )


def losses_figure(run: DistillRun) -> Figure:
    """Terms of the loss, each over its first value, and mean IoU on the photographs held out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for name, colour in zip(("loss", *WEIGHTS), _COLOURS, strict=True):
        steps, values = run.log.values(STAGE, name)
        if values:
            window = len(values) // 30 + 2 if len(values) >= 40 else 1
            top.plot(steps, smoothed(values, window), color=colour, label=name, linewidth=2 if name == "loss" else 1.2)
    top.set_yscale("log")
    top.set_ylabel("training loss and its terms")
    top.set_title(
        f"{len(run.stage.losses)} steps of {run.config.batch_size} photographs at {run.image_size} px", fontsize=11
    )
    top.legend(loc="best", ncols=3)
    top.grid(which="both", **GRID)
    for name, colour in zip(_MEASURED, _COLOURS[1:], strict=False):
        steps, values = run.log.values(STAGE, f"validation_{name}")
        bottom.plot([0, *steps], [run.start[name], *values], color=colour, marker="o", markersize=4, label=name)
    bottom.set_ylabel("mean IoU, photographs held out")
    bottom.set_xlabel("optimizer step")
    bottom.legend(loc="best")
    bottom.grid(**GRID)
    return figure


def comparison(run: DistillRun, labelled_by: str | None = None) -> list[list[Cell]]:
    """Photographs held out with the true mask, the teacher's and the student's before and after, for one point."""
    names = ("truth" if labelled_by is None else "pseudo-label", "teacher", "student, before", "student, after")
    size = run.config.teacher_size or run.image_size
    predictors = [
        Predictor(run.teacher, size),
        Predictor(run.origin.to(run.teacher.device), run.image_size),
        Predictor(run.sam, run.image_size),
    ]
    rows: list[list[Cell]] = []
    for index in run.held_out:
        if len(rows) == _ROWS:
            break
        found = _readable(run.dataset.source.sample(index))
        if found is None:
            continue
        sample, image = found
        largest = max(sample.annotations, key=lambda annotation: annotation.area)
        truth, point = decode_rle(largest.rle), [largest.point]
        masks: list[Mask] = [truth]
        for predictor in predictors:
            predictor.set_image(image)
            masks.append(predictor.predict(points=point, multimask=False).masks[0, 0])
        rows.append(
            [
                Cell(f"{name}: IoU {mask_iou(truth, mask):.2f}" if number else name, image, mask, point)
                for number, (name, mask) in enumerate(zip(names, masks, strict=True))
            ]
        )
    return rows


def _readable(sample: Sample) -> tuple[Sample, RGBImage] | None:
    try:
        return (sample, sample.image()) if sample.annotations else None
    except InputError:
        return None
