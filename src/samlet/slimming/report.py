"""What a slimming run shows: figures, a table, pictures, a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from samlet.data.images import fingerprint
from samlet.io.progress import progress_bar
from samlet.io.writing import new_file
from samlet.reporting import markdown
from samlet.reporting.contact_sheet import DIFFERENCE, sheet_of
from samlet.reporting.plots import figure_image
from samlet.reporting.result import RunResult
from samlet.runs.precision import PRECISIONS
from samlet.slimming.allocation import Allocation
from samlet.slimming.alpha import ALPHAS
from samlet.slimming.comparison import comparison
from samlet.slimming.config import CRITERIA, PROCEDURES, SELECTIONS, STAGES
from samlet.slimming.figures import SlimFigures, measure, table, to_json
from samlet.slimming.pipeline import SlimRun
from samlet.slimming.plots import losses_figure, widths_figure
from samlet.training.settings import SCHEDULES

__all__ = [
    "SlimFigures",
    "measure",
    "method",
    "pictures",
    "provenance",
    "result",
    "settings",
    "table",
    "to_json",
    "write",
]


def method(run: SlimRun) -> str:
    """What was done, in words."""
    if run.config.stage == "align":
        return "aligning of the final embedding, nothing pruned"
    if run.config.procedure == "one-step":
        return "one-step pruning of embeddings and bottlenecks, aligning of the final embedding"
    halves = {
        "first": "embedding pruning, bottleneck aligning",
        "second": "bottleneck pruning, embedding aligning",
    }
    part = {"all": "SlimSAM", "first": "first half of SlimSAM", "second": "second half of SlimSAM"}[run.config.stage]
    return f"{part}: {halves.get(run.config.stage) or ', '.join(halves.values())}"


def provenance(run: SlimRun, teacher: str, images: str, student: str | None = None) -> dict[str, Any]:
    """Where the slimmed model comes from; the names of models and images are for people, the fingerprints tell."""
    parents = [{"name": teacher, "weights_sha256": run.teacher.fingerprint()}]
    began_with = run.origin.fingerprint()
    if began_with != parents[0]["weights_sha256"]:
        parents.append({"name": student or "student", "weights_sha256": began_with})
    return {
        "method": method(run),
        "parents": parents,
        "data": {
            "name": images,
            "photographs": len(run.trained_on),
            "sha256": fingerprint(run.trained_on),
            "held_out": [path.name for path in run.held_out],
        },
        "recipe": run.config.to_dict(),
        "losses": {name: stage.losses for name, stage in run.stages.items()},
    }


def pictures(run: SlimRun, data: str) -> dict[str, Callable[[], Image.Image]]:
    """What draws each picture; `data` is what to call the photographs."""
    encoders = run.teacher.config.encoder, run.sam.config.encoder
    return {
        "comparison": lambda: sheet_of(comparison(run), f"data: {data}, held out; {DIFFERENCE}"),
        "losses": lambda: figure_image(losses_figure(run)),
        "widths": lambda: figure_image(widths_figure(*encoders)),
    }


def result(run: SlimRun, data: str, known: SlimFigures | None = None, folder: Path | None = None) -> RunResult:
    """Figures and pictures for Python; what is not known yet is measured when it is asked for."""
    kept: list[SlimFigures] = [] if known is None else [known]

    def figures() -> SlimFigures:
        if not kept:
            kept.append(measure(run))
        return kept[0]

    found = RunResult(
        f"slimmed: {run.config.size}, {run.steps} steps at {run.image_size} px",
        lambda: to_json(run, figures()),
        lambda: table(figures()),
        pictures(run, data),
        folder,
    )
    if known is not None:
        _ = found.figures
    return found


def write(run: SlimRun, figures: SlimFigures, folder: Path, data: str = "the folder") -> None:
    """Write `report.md` and its pictures beside the model: `comparison.png`, `losses.png`, `widths.png`."""
    drawn = pictures(run, data)
    with progress_bar("drawing pictures", "picture", len(drawn)) as bar:
        for name, draw in drawn.items():
            with new_file(folder / f"{name}.png") as temporary:
                draw().save(temporary, format="PNG")
            bar.update()
    config = run.config
    labels = "labels for the scores of channels only" if config.importance == "taylor" else "no labels"
    lines = [
        "# Slimming report",
        "",
        table(figures),
        "",
        f"Size: {config.size}; {run.steps} steps of {config.batch_size} images at {run.image_size} px, "
        f"learning rate {config.learning_rate:g}, seed {config.seed}; {_photographs(run)}, "
        f"{labels}; {run.seconds:.0f} s, {run.images_per_second:.2f} images a second while aligning.",
        "",
        *(
            [
                f"Aligned at {run.image_size} px, kept as `trained_image_size`. The model computes at "
                f"{run.sam.image_size} px, its teacher's size, unless told otherwise: masks are finer there, and one "
                f"image costs {(run.sam.image_size / run.image_size) ** 2:.3g} times as much. `--image-size "
                f"{run.image_size}` (`image_size=`) computes at the size that agreement was measured at.",
                "",
            ]
            if run.image_size != run.sam.image_size
            else ()
        ),
        "![teacher, raw pruned and aligned masks](comparison.png)",
        "",
        "## Training",
        "",
        *_training(run),
        "",
        "The loss changes its meaning within a stage, as α falls (SlimSAM, eqs. 5 to 8); embedding error (of the final "
        "embedding, as a share of its variance) and agreement (mean IoU of low-resolution masks, point prompts) are "
        f"measured on the photographs held out ({len(run.held_out)}), and do not.",
        "",
        "![loss, validation and learning rate of every step](losses.png)",
        "",
        "## Widths",
        "",
        "![widths of the slimmed encoder and of the teacher's](widths.png)",
        "",
        *(_allocation(run.allocation) if run.allocation is not None else ()),
        "## Settings",
        "",
        *(f"- **{name}** {value}" for name, value in settings(run).items()),
        "",
        "All of them stand in `provenance.json`.",
        "",
    ]
    skipped = to_json(run, figures)["photographs"]["skipped"]
    if skipped:
        lines += ["## Photographs that could not be read", "", *(f"- {name}" for name in skipped), ""]
    markdown.write_lines(folder / "report.md", lines)


def _photographs(run: SlimRun) -> str:
    seen = len(run.trained_on)
    return f"{seen} photographs to align on" + (f" of {run.available} that were there" if seen < run.available else "")


def _allocation(found: Allocation) -> list[str]:
    """What the search for the widths measured, two Markdown tables."""
    shares = sorted({share for errors in found.alone.values() for share in errors}, key=float, reverse=True)
    rows = [
        f"| part and stage | kept | {' | '.join(f'error alone at {share}' for share in shares)} |",
        f"|:--|--:|{'--:|' * len(shares)}",
    ]
    for name, errors in found.alone.items():
        rows.append(f"| {name} | {found.shares[name]:.2f} | {' | '.join(f'{errors[share]:.4f}' for share in shares)} |")
    joint = ", ".join(f"{name} {error:.4f}" for name, error in found.joint.items())
    return [
        "Widths were searched: each part was cut alone and refitted, and parts are cut where a saving costs the least. "
        "Errors are of the final embedding, as a share of its variance, on small photographs, before any training.",
        "",
        *rows,
        "",
        f"All parts together: {joint}. Taken: {found.chosen}.",
        "",
    ]


def _training(run: SlimRun) -> list[str]:
    """First and last values of every stage, a Markdown table."""

    def ends(stage: str, quantity: str, digits: str) -> str:
        values = run.log.values(stage, quantity)[1]
        return f"{values[0]:{digits}} | {values[-1]:{digits}}" if values else " | "

    rows = [
        "| stage | steps | loss, first | last | embedding error, first | last | agreement, first | last |",
        "|-------|------:|------------:|-----:|-----------------------:|-----:|-----------------:|-----:|",
    ]
    for name, stage in run.stages.items():
        cells = (
            ends(name, "loss", ".5g"),
            ends(name, "validation_error", ".4f"),
            ends(name, "validation_agreement", ".3f"),
        )
        rows.append(f"| {name} | {len(stage.losses)} | {' | '.join(cells)} |")
    return rows


def settings(run: SlimRun) -> dict[str, str]:
    """The settings that figures depend on, in words."""
    config = run.config
    found = {"stage": f"{config.stage}: {STAGES[config.stage]}"}
    if config.stage != "align":
        found["procedure"] = f"{config.procedure}: {PROCEDURES[config.procedure]}"
        found["importance"] = f"{config.importance}: {CRITERIA[config.importance]}"
        if config.importance in ("disturbed-taylor", "taylor", "hessian"):
            found["scoring"] = f"{min(config.scoring_images, run.available)} photographs"
        found["selection"] = f"{config.selection}: {SELECTIONS[config.selection]}"
        found["heads"] = (
            "whole heads are cut first, then channels inside those that stay"
            if config.cuts_heads
            else "every head loses the same channels"
        )
        found["recovery"] = (
            "none"
            if not run.refitted_on
            else f"layers refitted by least squares on {run.refitted_on} photographs or views of them"
        )
    if config.stage != "align" and config.procedure == "alternate":
        found["α"] = (
            f"bottleneck aligning: {ALPHAS[config.bottleneck_alpha]}; embedding aligning: "
            f"{ALPHAS[config.embedding_alpha]}; N = {config.alpha_epochs or 'half of the stage'}"
        )
    also = "" if config.recovery_images is None else f" --recovery-images {config.recovery_images}"
    loss = "mean squared error" + (" over the target's variance" if config.loss == "relative" else "")
    clipped = f"gradients clipped at {config.clip:g}"
    return {
        **found,
        "loss": f"{config.loss}: {loss}",
        "learning rate": f"{config.learning_rate:g} at its peak, {config.schedule}: {SCHEDULES[config.schedule]}",
        "batch": f"{config.batch_size} photographs, {config.micro_batch} at once at most; {clipped}",
        "views": "cropped and mirrored at random" if config.augment else "as they are",
        "precision": f"{config.precision}: {PRECISIONS[config.precision]}",
        "processes": f"{run.processes}",
        **(
            {
                "budget of time": f"{run.minutes:g} minutes; the same weights without a clock: `--steps {run.steps}"
                f"{also}` in place of `--minutes {run.minutes:g}`"
            }
            if run.minutes is not None
            else {}
        ),
    }
