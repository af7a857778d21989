"""The options of `samlet segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet import bounds
from samlet.cli.options import add_settings
from samlet.cli.parsers.common import (
    RUNNABLE,
    add_command,
    add_image_size,
    add_label_format,
    add_machine,
    add_reading,
    whole,
)
from samlet.inference.everything.options import EverythingOptions


def add_segment(commands: Any) -> None:
    """Add `samlet segment`."""
    parser = add_command(
        commands,
        "segment",
        "masks for points and boxes, or everything, on images and videos",
        "Segment what you point at. All --point values together are one prompt: foreground (1, the default) and\n"
        "background (0) clicks on one object. Each --box is a prompt of its own; with exactly one box, points refine\n"
        "it. A single click or box is ambiguous, so the best of three masks is returned; with more clicks the\n"
        "single-mask output. Writes masks.json (COCO RLE, predicted IoU, stability score, box, area) and\n"
        "overlay.png.\n\n"
        "With --everything it needs no prompts. It asks at a grid of points, and keeps the masks that are good,\n"
        "stable and different from each other (Segment Anything, section 5). --strategy hierarchical is cheaper: it\n"
        "asks a sparse grid first, and more points only where no good mask was found (TinySAM, section 3.4). IMAGE\n"
        "may then also be a folder or a video: masks.jsonl gets one line for each image, or --format writes the\n"
        "files of another tool. The same command continues a run that was stopped.",
    )
    parser.add_argument(
        "image",
        type=Path,
        metavar="IMAGE",
        help="JPEG, PNG, WebP, BMP or TIFF; with --everything also a folder or a video",
    )
    parser.add_argument(
        "--model",
        metavar="M",
        help=f"{RUNNABLE}; default samlet_s",
    )
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="X,Y[,0|1]",
        help="a click, in pixels of the image, x before y; 1 foreground, 0 background. May be repeated",
    )
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1",
        help="a box, in pixels of the image. May be repeated",
    )
    parser.add_argument("--multimask", action="store_true", help="keep all three masks of every prompt")
    add_settings(parser, EverythingOptions, only=("output_mode",))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in DIR")
    files = parser.add_argument_group("label files", "of one image, in DIR/labels; of a folder or a video, in DIR")
    add_label_format(files, None)
    add_image_size(parser)
    _add_everything(parser.add_argument_group("everything"))
    _add_many(parser.add_argument_group("everything, on a folder or a video"))
    add_reading(parser)
    add_machine(parser)


def _add_everything(group: Any) -> None:
    group.add_argument("--everything", action="store_true", help="all masks of the image, without prompts")
    add_settings(group, EverythingOptions, leave_out=("output_mode",))
    group.add_argument("--labels", action="store_true", help="number the masks in the overlay")


def _add_many(group: Any) -> None:
    group.add_argument("--overlays", action="store_true", help="draw every image with its masks into overlays/")
    group.add_argument(
        "--workers",
        type=whole(bounds.WORKERS),
        metavar="N",
        help="processes, of one thread each; as many as there are cores, 8 at most, if not given",
    )
    group.add_argument(
        "--every",
        type=whole(bounds.EVERY),
        default=1,
        metavar="N",
        help="of a video, take every Nth frame; default %(default)s",
    )
