"""The options of `samlet photos`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import add_command


def add_photos(commands: Any) -> None:
    """Add `samlet photos`."""
    parser = add_command(
        commands,
        "photos",
        "copy the photographs of the package into a folder, to try commands on",
        "The commands of the documentation work on photographs in examples/photos. A clone of the repository has them\n"
        "there; elsewhere this command writes them from the package, and nothing is downloaded. Files that are there\n"
        "already stay. ORIGINS.md beside them says who took them, and under which licence each may be used.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("examples/photos"),
        metavar="DIR",
        help="the folder, made where it is not there; default %(default)s",
    )
