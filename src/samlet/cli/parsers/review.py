"""The options of `samlet review`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import LABEL_FORMATS, add_command, add_reading, choice


def add_review(commands: Any) -> None:
    """Add `samlet review`."""
    parser = add_command(
        commands,
        "review",
        "a page to look through labels: photographs with their masks",
        "Write a page with every photograph of a folder of labels and its masks drawn on it, so that a person sees in\n"
        "minutes what labels are worth before anything is trained on them. It reads every format that `samlet label`\n"
        "and `samlet segment` write, corrected by other tools or not. Open index.html in a browser; it needs no\n"
        "network.",
    )
    parser.add_argument("labels", type=Path, metavar="DIR", help="a folder of label files")
    parser.add_argument(
        "--format",
        choices=tuple(LABEL_FORMATS),
        metavar="NAME",
        help="of the label files; told by what is in DIR if not given",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="where the photographs are, if not where the labels say, beside them or in images/",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the page; DIR-review if not given")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier page there")
    orders = {"name": "by name", "fewest": "the fewest masks first", "most": "the most masks first"}
    choice(parser, "--order", orders, "name", "how the photographs are ordered")
    parser.add_argument("--limit", type=int, metavar="N", help="show only the first N photographs, in that order")
    parser.add_argument(
        "--side", type=int, default=480, metavar="N", help="longest side of the pictures, pixels; default %(default)s"
    )
    add_reading(parser)
