"""What a slimming run shows: figures, a table, pictures, a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from samlet.data.datasets import plain_images
from samlet.data.images import fingerprint
from samlet.evaluation.costs import Cost, cost
from samlet.evaluation.miou import Evaluation, evaluate
from samlet.reporting import markdown
from samlet.reporting.contact_sheet import write_sheet
from samlet.reporting.plots import write_figure
from samlet.runs.precision import PRECISIONS
from samlet.slimming.allocation import Allocation
from samlet.slimming.alpha import ALPHAS
from samlet.slimming.comparison import comparison
from samlet.slimming.config import CRITERIA, PROCEDURES, SELECTIONS, STAGES
from samlet.slimming.pipeline import SlimRun
from samlet.slimming.plots import losses_figure, widths_figure
from samlet.training.settings import SCHEDULES


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
    dataset = plain_images("held out", run.held_out)

    def agreement(sam: Any) -> Evaluation:
        return evaluate(sam, dataset, "point", reference=run.teacher, image_size=run.image_size, rules=("single",))

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


def table(figures: SlimFigures) -> str:
    """Teacher, raw pruned and aligned model side by side, Markdown that reads well as text too."""
    before, after = figures.teacher_cost, figures.cost

    def row(name: str, c: Cost, agreement: float) -> tuple[str, ...]:
        latency = "" if c.encoder.latency_s is None else f"{c.encoder.latency_s * 1000:.0f} ms"
        macs = (f"{count / 1e9:.1f} G" for count in (c.encoder.macs_modules, c.encoder.macs_total))
        return name, f"{c.parameters / 1e6:.2f} M", *macs, latency, f"{agreement:.3f}"

    rows = [
        ("model", "parameters", "encoder MACs (modules)", "encoder MACs (total)", "encoder latency", "agreement"),
        row("teacher", before, 1.0),
        row("pruned, raw", after, figures.pruned.miou["single"]),
        row("pruned, aligned", after, figures.aligned.miou["single"]),
    ]
    return "\n".join(
        [
            *markdown.table(rows, "right"),
            "",
            f"MACs and encoder latency at {after.image_size} px. Agreement with the teacher: mean IoU, "
            f"{figures.aligned.protocol}, {figures.aligned.images} photographs held out.",
        ]
    )


def write(run: SlimRun, figures: SlimFigures, folder: Path) -> None:
    """Write `report.md` and its pictures beside the model: `comparison.png`, `losses.png`, `widths.png`."""
    write_sheet(comparison(run), folder / "comparison.png")
    write_figure(losses_figure(run), folder / "losses.png")
    write_figure(widths_figure(run.teacher.config.encoder, run.sam.config.encoder), folder / "widths.png")
    config = run.config
    labels = "labels for the scores of channels only" if config.importance == "taylor" else "no labels"
    lines = [
        "# Slimming report",
        "",
        table(figures),
        "",
        f"Size: {config.size}; {run.steps} steps of {config.batch_size} images at {run.image_size} px, "
        f"learning rate {config.learning_rate:g}, seed {config.seed}; {len(run.trained_on)} photographs to align on, "
        f"{labels}; {run.seconds:.0f} s, {run.images_per_second:.2f} images a second while aligning.",
        "",
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
            found["scoring"] = f"{config.scoring_images} photographs"
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
    }
