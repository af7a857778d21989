"""The options of `samlet segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet import bounds
from samlet.cli.parsers.common import (
    RUNNABLE,
    add_command,
    add_image_size,
    add_label_format,
    add_machine,
    add_reading,
    choice,
    whole,
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
        "With --everything it needs no prompts: a grid of points is asked, and what is good, stable and not seen\n"
        "before stays (Segment Anything, section 5), or, cheaper, a sparse grid first and the rest only where that\n"
        "settled nothing (TinySAM, section 3.4). IMAGE may then also be a folder, or a video: masks.jsonl gets one\n"
        "line an image, in order, as they come, or with --format the files of another tool. The same command\n"
        "continues a run that was stopped.",
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
        ("--points-per-side", whole(bounds.POINTS_PER_SIDE), 32, "points a side of the grid"),
        ("--points-per-batch", whole(bounds.POINTS_PER_BATCH), 4, "prompts decoded together; on a GPU 64"),
        ("--pred-iou-thresh", float, None, "masks of a predicted IoU of at most this are dropped"),
        ("--stability-score-thresh", float, 0.95, "masks less stable than this are dropped"),
        ("--stability-score-offset", float, 1.0, "stability: IoU of the masks so far above and below the threshold"),
        ("--box-nms-thresh", float, 0.7, "of two boxes whose IoU exceeds this the lower predicted IoU goes"),
        ("--crop-n-layers", whole(bounds.CROP_N_LAYERS), 0, "layer i also runs on 2^i x 2^i crops"),
        ("--crop-nms-thresh", float, 0.7, "as --box-nms-thresh, between crops"),
        ("--crop-overlap-ratio", float, 512 / 1500, "overlap of crops, as a share of the shorter side"),
        (
            "--crop-n-points-downscale-factor",
            whole(bounds.CROP_DOWNSCALE),
            1,
            "points a side are divided by this in each layer",
        ),
        ("--min-mask-region-area", whole(bounds.AREA), 0, "smaller holes and islands are removed, pixels"),
        ("--max-mask-region-area", whole(bounds.AREA), 0, "larger masks are dropped, pixels; 0 for none"),
        ("--mask-nms-thresh", float, 1.0, "of two masks whose own IoU exceeds this the lower predicted IoU goes"),
        ("--high-threshold", float, 8.5, "hierarchical: places above it are settled, a logit; inf asks the whole grid"),
    ]
    for name, kind, default, what in numbers:
        shown = _OWN if default is None else f"{default:.4g}" if isinstance(default, float) else str(default)
        group.add_argument(
            name, type=kind, default=default, metavar="X" if kind is float else "N", help=f"{what}; default {shown}"
        )
    group.add_argument(
        "--sparse-points-per-side",
        type=whole(bounds.POINTS_PER_SIDE),
        metavar="N",
        help="hierarchical: points a side of the first round; a quarter of --points-per-side if not given",
    )
    choice(
        group,
        "--settling",
        {
            "consensus": "several masks and the image's own features",
            "logits": "the logits of good and stable masks, as in TinySAM",
        },
        "consensus",
        "hierarchical: what settles a place",
    )
    group.add_argument(
        "--refine",
        type=float,
        metavar="X",
        help="hierarchical: share of the saved prompts to spend on a finer grid where least is settled; 0.23 if not "
        "given, and none with --settling logits",
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
