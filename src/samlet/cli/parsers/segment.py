"""The options of `samlet segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import (
    RUNNABLE,
    add_command,
    add_image_size,
    add_label_format,
    add_machine,
    add_reading,
    choice,
)


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
    parser.add_argument("--model", default="mobile_sam", metavar="M", help=f"{RUNNABLE}; default %(default)s")
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
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in DIR")
    files = parser.add_argument_group("label files", "of one image, in DIR/labels; of a folder or a video, in DIR")
    add_label_format(files, None)
    add_image_size(parser)
    _add_everything(parser.add_argument_group("everything"))
    _add_many(parser.add_argument_group("everything, on a folder or a video"))
    add_reading(parser)
    add_machine(parser)


_OWN = "0.88, for SAM 2 0.8"  # as published


def _add_everything(group: Any) -> None:
    group.add_argument("--everything", action="store_true", help="all masks of the image, without prompts")
    choice(
        group,
        "--strategy",
        {"grid": "every point", "hierarchical": "a sparse grid first, then points that no good mask covers"},
        "grid",
        "which points are asked",
    )
    numbers: list[tuple[str, Any, Any, str]] = [
        ("--points-per-side", int, 32, "points a side of the grid"),
        ("--points-per-batch", int, 4, "prompts decoded together; on a GPU 64"),
        ("--pred-iou-thresh", float, None, "masks with a predicted IoU of X or less are dropped"),
        ("--stability-score-thresh", float, 0.95, "masks with a stability below X are dropped"),
        ("--stability-score-offset", float, 1.0, "stability is the IoU of the masks at logits of -X and +X"),
        ("--box-nms-thresh", float, 0.7, "if two boxes overlap by an IoU above X, the mask of lower score is dropped"),
        ("--crop-n-layers", int, 0, "layer i also runs on 2^i x 2^i crops"),
        ("--crop-nms-thresh", float, 0.7, "as --box-nms-thresh, between crops"),
        ("--crop-overlap-ratio", float, 512 / 1500, "overlap of crops, as a share of the shorter side"),
        ("--crop-n-points-downscale-factor", int, 1, "points a side are divided by this in each layer"),
        ("--min-mask-region-area", int, 0, "smaller holes and islands are removed, pixels"),
        ("--max-mask-region-area", int, 0, "larger masks are dropped, pixels; 0 for none"),
        ("--mask-nms-thresh", float, 1.0, "if two masks overlap by an IoU above X, that of lower score is dropped"),
        ("--high-threshold", float, 8.5, "hierarchical: areas with logits above X need no more prompts; inf: all do"),
    ]
    for name, kind, default, what in numbers:
        shown = _OWN if default is None else f"{default:.4g}" if isinstance(default, float) else str(default)
        group.add_argument(
            name, type=kind, default=default, metavar="N" if kind is int else "X", help=f"{what}; default {shown}"
        )
    group.add_argument(
        "--sparse-points-per-side",
        type=int,
        metavar="N",
        help="hierarchical: points a side of the first round; a quarter of --points-per-side if not given",
    )
    choice(
        group,
        "--settling",
        {
            "consensus": "judged by several masks and the image embedding",
            "logits": "where good and stable masks have high logits, as in TinySAM",
        },
        "consensus",
        "hierarchical: which areas need no more prompts",
    )
    group.add_argument(
        "--refine",
        type=float,
        metavar="X",
        help="hierarchical: share of the saved prompts that is spent on a finer grid, in the least covered areas; 0.23 "
        "if not given, none with --settling logits",
    )
    choice(
        group,
        "--output-mode",
        {
            "coco_rle": "run-length code",
            "polygon": "COCO polygons, exact along the pixels",
            "binary_mask": "PNG files in masks/",
        },
        "coco_rle",
        "how masks are written",
    )
    group.add_argument(
        "--exact",
        action="store_true",
        help="every mask in full and in float32, as segment-anything computes them: the same answer, about three times "
        "as slow",
    )
    choice(
        group,
        "--precision",
        {
            "auto": "bf16 where the processor multiplies it",
            "bf16": "image features of the mask decoder in bfloat16",
            "fp32": "in float32",
        },
        "auto",
        "arithmetic",
    )
    group.add_argument("--labels", action="store_true", help="number the masks in the overlay")


def _add_many(group: Any) -> None:
    group.add_argument("--overlays", action="store_true", help="draw every image with its masks into overlays/")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes, of one thread each; as many as there are cores, 8 at most, if not given",
    )
    group.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a video, take every Nth frame; default %(default)s"
    )
