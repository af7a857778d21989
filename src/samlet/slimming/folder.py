"""A slimming run from photographs to a folder: the model, its figures, its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samlet.checkpoints import native
from samlet.data.datasets import Dataset
from samlet.models import Sam
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.slimming import report
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import SlimRun, run
from samlet.training.budget import Clock

WRITTEN = "the slimmed model, report.md, comparison.png, losses.png, widths.png, run/ with the logs"


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """What stands in the folder now.

    Attributes:
        run: what was done.
        figures: what was measured.
        content: the same as JSON, under the names of the command line's contract.
    """

    run: SlimRun
    figures: report.SlimFigures
    content: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Names:
    """How provenance calls what went in.

    Attributes:
        teacher: the model.
        images: the folder of photographs.
        student: the model that a stage alone began from.
    """

    teacher: str
    images: str
    student: str | None = None


def slim_into(
    out: Path,
    teacher: Sam,
    paths: Sequence[Path],
    config: SlimConfig,
    names: Names,
    *,
    labels: Dataset | None = None,
    student: Sam | None = None,
    engine: DistributedContext | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> Slimmed | None:
    """Slim into a folder, or continue the unfinished run there; None in any process but the main one.

    Args:
        out: the folder, which the caller has checked.
        names: for provenance.
        teacher: as for `run`; so is what is not listed here.

    Raises:
        InputError: as `run`; or another process works in the folder.
        SamletError: as `run`.
    """
    engine = engine or DistributedContext(teacher.device, config.precision)
    workspace = RunFolder(out)
    if workspace.unfinished and engine.is_main:
        say(f"{out} holds an unfinished run; continuing it")
    with workspace.locked(engine.is_main):
        made = run(
            teacher,
            paths,
            config,
            labels=labels,
            student=student,
            workspace=workspace,
            engine=engine,
            overwrite=overwrite,
            clock=clock or Clock(reports=True),
        )
        if not engine.is_main:
            return None
        origin = report.provenance(made, names.teacher, names.images, names.student)
        # First the model: whatever comes after, it is safe.
        native.write(made.sam, out, origin, overwrite=True, run_folder=True)
        if made.skipped:
            say(f"{len(made.skipped)} photographs could not be used:")
        for reason in made.skipped.values():
            say(f"  {reason}")
        say("measuring cost and agreement with the teacher")
        figures = report.measure(made)
        content = report.to_json(made, figures)
        native.write_provenance(out, {**origin, "figures": content})
        report.write(made, figures, out)
        workspace.finish()
    return Slimmed(run=made, figures=figures, content=content)
