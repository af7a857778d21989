"""`samlet photos`."""

from __future__ import annotations

import argparse

from samlet.cli.common import show
from samlet.data.bundled import copy_photographs


def run(options: argparse.Namespace) -> None:
    """Copy the photographs of the package into a folder."""
    made = copy_photographs(options.out)
    text = f"{options.out}: {', '.join(path.name for path in made)}; ORIGINS.md says where they come from"
    show(options, {"photographs": [str(path) for path in made]}, text)
