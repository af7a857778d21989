"""The options of `samlet evaluate` and `samlet compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from samlet import bounds
from samlet.cli.parsers.common import (
    RUNNABLE,
    Parser,
    add_command,
    add_image_size,
    add_machine,
    add_model,
    add_reading,
    choice,
    whole,
)

_PATH = (
    "PATH is an SA-1B folder (ID.jpg + ID.json), shard (.tar) or folder of shards, a COCO or LVIS v1 JSON (images in\n"
    "images/ beside it, or --images DIR), label maps as BSDS has them (ID.mat or ID.png), or a plain folder of\n"
    "images, which needs --reference."
)
_PROTOCOLS = (
    "Protocols: sa1b-point, the annotated or innermost point of each mask (SlimSAM's); box, its tight box; point-K, K\n"
    "clicks, each next one in the middle of the largest error (SAM's, TinySAM's); everything, the best IoU of each\n"
    "mask with any of everything mode's, and recall at fixed counts; box-detector, AP of masks in a detector's boxes.\n"
)


def add_evaluate(commands: Any) -> None:
    """Add `samlet evaluate`."""
    parser = add_command(
        commands,
        "evaluate",
        "mean IoU of a model on a dataset",
        "Measure mean IoU. `single` is the single-mask output, `best` the multimask output of highest predicted IoU,\n"
        "`oracle` the best of the three against the truth; each the mean over masks, with a 95% bootstrap interval\n"
        f"over images.\n\n{_PATH}\n\n{_PROTOCOLS}\n"
        "Several processes: torchrun --nproc-per-node 2 -m samlet evaluate …",
    )
    add_model(parser, f"{RUNNABLE}, FastSAM as ONNX, or the folder of a SAM 2 as ONNX")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--prompt", choices=("point", "box"), help="short for --protocol sa1b-point or box")
    group.add_argument("--protocol", metavar="NAME", help="see above; default sa1b-point")
    _add_evaluation(parser)


def _protocol_of(prompt: str) -> str:
    """The protocol that a kind of prompt is short for."""
    protocols = {"point": "sa1b-point", "box": "box"}
    if prompt not in protocols:
        raise argparse.ArgumentTypeError(f"invalid choice: '{prompt}' (choose from point, box)")
    return protocols[prompt]


def add_compare(commands: Any) -> None:
    """Add `samlet compare`."""
    parser = add_command(
        commands,
        "compare",
        "several models side by side: accuracy, cost, and which differences are real",
        "Measure models on the same masks and put them in one table: accuracy with its 95% bootstrap interval over\n"
        "images, parameters, multiply-accumulates by both conventions in print, latency (the models taking turns, so\n"
        "that drift hits all alike), memory of a fresh process, file size. The paired bootstrap says which\n"
        f"differences are real.\n\n{_PATH}\n\n{_PROTOCOLS}\n"
        "With --out writes comparison.json, comparison.md, comparison.png (accuracy against latency) and, by model,\n"
        "what was measured on each image; the same command continues a comparison that was stopped.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="M", help=f"{RUNNABLE}, FastSAM as ONNX, or the folder of a SAM 2 as ONNX"
    )
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help="see above. May be repeated; sa1b-point and box if not given",
    )
    parser.add_argument(
        "--prompt",
        dest="protocol",
        action="append",
        type=_protocol_of,
        metavar="point|box",
        help="short for --protocol sa1b-point or box, as in `samlet evaluate`. May be repeated",
    )
    parser.add_argument("--no-measure", action="store_true", help="no latency and no memory")
    _add_evaluation(parser)


def _add_evaluation(parser: Parser) -> None:
    """What `evaluate` and `compare` share."""
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="see above")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images are, if not beside the annotations"
    )
    parser.add_argument("--reference", metavar="M", help="a model whose masks count as true")
    parser.add_argument(
        "--detections", type=Path, metavar="FILE", help="box-detector: the detector's results JSON, in COCO's format"
    )
    parser.add_argument("--limit", type=whole(bounds.COUNT), metavar="N", help="use only the first N images")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the results, image by image")
    parser.add_argument("--overwrite", action="store_true", help="start again in DIR")
    choice(
        parser,
        "--strategy",
        {"grid": "every point", "hierarchical": "see `samlet segment --help`"},
        "grid",
        "everything: which points are asked",
    )
    parser.add_argument(
        "--points-per-side",
        type=whole(bounds.POINTS_PER_SIDE),
        default=32,
        metavar="N",
        help="everything: of the grid; default %(default)s",
    )
    add_image_size(parser)
    add_reading(parser)
    add_machine(parser, seed=True)
