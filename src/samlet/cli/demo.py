"""`samlet demo`."""

from __future__ import annotations

import argparse

from samlet.cli.common import set_up, show
from samlet.demo import demo, next_commands, to_json
from samlet.slimming import report
from samlet.training.budget import Clock


def run(options: argparse.Namespace) -> None:
    """Segment, slim, and write a page, or continue where an earlier session ended."""
    set_up(options)
    made = demo(
        options.out,
        options.minutes,
        clock=Clock(began=options.began),
        overwrite=options.overwrite,
        seed=options.seed,
        image_size=options.image_size,
    )
    commands = "\n".join(f"{what}\n  {command}" for what, command in next_commands(made.page.parent))
    show(options, dict(to_json(made)), f"{report.table(made.slimmed.figures)}\n\n{commands}\n\nLook at {made.page}")
