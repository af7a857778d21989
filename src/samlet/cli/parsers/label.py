"""The options of `samlet label`."""

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
    add_mask_filters,
    add_reading,
    whole,
)


def add_label(commands: Any) -> None:
    """Add `samlet label`."""
    parser = add_command(
        commands,
        "label",
        "masks of unlabelled photographs by a teacher, as files to correct and to train on",
        "Label photographs with a model: everything mode on each, and of its masks those of good predicted IoU and\n"
        "stability. DIR gets one ID.json a photograph in SA-1B's layout (COCO RLE, area, box, predicted IoU,\n"
        "stability score, the point that was asked), which --data DIR --images PHOTOS of other commands reads, or\n"
        "with --format the files of another tool: COCO, YOLO, labelme, PNG.\n\n"
        "The same command continues a run that was stopped, even killed. A file that is there is never written\n"
        "again, so labels may be corrected at any time: drop or redraw masks in an ID.json, or delete it to have it\n"
        "made anew. Photographs that cannot be read are named, and tried again by the next run.\n\n"
        "Besides the zoo, a teacher may be FastSAM as ONNX, or a folder with encoder and decoder of a SAM 2 as ONNX,\n"
        "which makes better masks than any small SAM (docs/how-to/labelling.md says where to get it).",
    )
    parser.add_argument(
        "--teacher",
        "--model",
        required=True,
        metavar="M",
        help=f"{RUNNABLE}, FastSAM as ONNX, or the folder of a SAM 2 as ONNX",
    )
    parser.add_argument("--images", type=Path, required=True, metavar="PHOTOS", help="a folder of photographs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the labels")
    parser.add_argument(
        "--limit",
        type=whole(bounds.COUNT),
        metavar="N",
        help="use only the first N photographs; a later run may go on to the others",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin again where an earlier run stands in DIR")
    add_label_format(parser.add_argument_group("label files"), "sa1b")
    _add_masks(parser.add_argument_group("which masks"))
    parser.add_argument(
        "--overlays", action="store_true", help="also draw every photograph with its masks into DIR/overlays/"
    )
    parser.add_argument(
        "--workers",
        type=whole(bounds.WORKERS),
        metavar="N",
        help="processes, of one thread each; as many as there are cores, 8 at most, if not given. A model in ONNX "
        "works in one, with --threads",
    )
    add_image_size(parser)
    add_reading(parser)
    add_machine(parser)


def _add_masks(group: Any) -> None:
    """Options that FastSAM has not, but for the last."""
    group.add_argument(
        "--strategy",
        choices=("grid", "hierarchical"),
        metavar="NAME",
        help="which points are asked. grid: every point; hierarchical: a sparse grid first, then points that no good "
        "mask covers. Default hierarchical; for SAM 2 grid, the only one",
    )
    group.add_argument(
        "--points-per-side",
        type=whole(bounds.POINTS_PER_SIDE),
        metavar="N",
        help="points a side of the grid; default 32, for SAM 2 16",
    )
    add_mask_filters(group, "default 0.88, for SAM 2 0.8", "default 0.95")
