"""The options of `samlet convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import (
    LABEL_FORMATS,
    add_command,
    add_label_format,
    add_mask_filters,
    add_output,
    add_reading,
)


def add_convert(commands: Any) -> None:
    """Add `samlet convert`."""
    parser = add_command(
        commands,
        "convert",
        "label files in another format, and fewer masks of them",
        "Write the label files of a folder in another format, or in the same one with fewer masks. It reads every\n"
        "format that `samlet label` and `samlet segment` write, corrected by other tools or not, and leaves that\n"
        "folder as it is. No model is needed, so it takes seconds where labelling took hours.\n\n"
        "Masks keep their classes where both formats have them, and scores where both have them: predicted IoU,\n"
        "stability, the click. sa1b and jsonl have all scores, png too; coco has all but the crop; yolo, labelme and\n"
        "label-map have none, so filter before you convert to those. A mask without a score was drawn by a person,\n"
        "and passes every threshold. The same command continues a run that was stopped.",
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="a folder of label files")
    parser.add_argument(
        "--from",
        dest="source",
        choices=tuple(LABEL_FORMATS),
        metavar="NAME",
        help="format of the files in LABELS; told by what is in the folder if not given",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="PHOTOS",
        help="where the photographs are, if not where the labels say, beside them or in images/; yolo copies and "
        "labelme names them, other formats do without",
    )
    add_output(parser, "a new folder for the label files", "an earlier conversion")
    add_label_format(parser.add_argument_group("label files"), None, required=True)
    add_mask_filters(parser.add_argument_group("which masks"), "all stay if not given", "all stay if not given")
    add_reading(parser)
