"""What the parsers of all commands share. Nothing here imports torch, so `--help` is quick."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from samlet import bounds
from samlet.cli.parsers import suggesting

MODEL = (
    "a zoo name (see `samlet models`), a repository of the Hugging Face hub (ORG/NAME, ORG/NAME@REVISION), a model "
    "folder, or a checkpoint file (.pth, .pt, .safetensors)"
)
RUNNABLE = MODEL.replace("a model folder", "a model folder (an exported one too)")


class whole:  # noqa: N801 - stands where `int` does
    """Reads an option that is a whole number, and knows its bounds; see `Parser.parse_known_args`."""

    __name__ = "int"

    def __init__(self, limits: bounds.Bounds) -> None:
        self.limits = limits

    def __call__(self, text: str) -> int:
        """The number."""
        return int(text)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes -5,250 for a value, not for an option."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._negative_number_matcher = suggesting.NEGATIVE_VALUE

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; a command names itself in errors, and a model is named in one of two ways.

        Raises:
            InputError: a whole number is out of its bounds.
        """
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        if self.get_default("run") is not None and (said := suggesting.split_value(words, self._actions)):
            self.error(said)
        found, others = super().parse_known_args(args, namespace)
        if others:
            self.error(suggesting.unknown(others, self._actions, self.prog))
        if hasattr(found, "named_model"):
            if (found.model is None) == (found.named_model is None):
                both = found.model is not None
                self.error("the model is named twice, as M and --model" if both else "no model; give M, or --model M")
            found.model = found.named_model if found.model is None else found.model
            del found.named_model
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if isinstance(action.type, whole) and value is not None:
                action.type.limits.check(action.option_strings[0], value)
        return found, others

    def error(self, message: str) -> NoReturn:
        """Exit with 2, saying what and where to read on."""
        message = suggesting.with_suggestion(message, self._actions)
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _command(module: str) -> Callable[[argparse.Namespace], None]:
    """Import the command's module on its first use, so that `--help` does not wait for torch."""

    def run(options: argparse.Namespace) -> None:
        importlib.import_module(f"samlet.cli.{module}").run(options)

    return run


def add_command(commands: Any, name: str, summary: str, description: str) -> Parser:
    """Add a command: its summary in the list of commands, its description in its own help."""
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=_command(name))
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    return parser


def add_machine(parser: Parser, seed: bool = False) -> None:
    """Add --threads and --device, and --seed if wanted."""
    group = parser.add_argument_group("machine")
    group.add_argument("--threads", type=whole(bounds.THREADS), metavar="N", help="CPU threads; all cores if not given")
    group.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …; default %(default)s")
    if seed:
        group.add_argument("--seed", type=whole(bounds.SEED), default=0, metavar="N", help="default %(default)s")


def add_reading(parser: Parser) -> None:
    """Add --range, --page and --stored-pixels."""
    group = parser.add_argument_group("photographs")
    add_orientation(group)
    group.add_argument(
        "--range",
        metavar="LOW,HIGH",
        help="for pictures with more than 8 bits: the values of black and white, such as 0,4095 or -1000,3000, or "
        "`percentile`: from the 0.5th to the 99.5th percentile of each picture. If not given, the range follows from "
        "the type and the values, and a message says so",
    )
    group.add_argument(
        "--page",
        type=whole(bounds.COUNT),
        metavar="N",
        help="of files with several pages or frames, the one to read; the first is 1",
    )
    group.add_argument(
        "--max-pixels",
        type=whole(bounds.MAX_PIXELS),
        metavar="N",
        help="refuse pictures of more pixels before they are unpacked; default 160,000,000",
    )


def add_orientation(group: Any) -> None:
    """Add --stored-pixels."""
    group.add_argument(
        "--stored-pixels",
        action="store_true",
        help="leave photographs as their pixels are stored. Otherwise they are turned upright, as their EXIF "
        "orientation says, in every command and file, and coordinates count there",
    )


def add_model(parser: Parser, text: str = MODEL) -> None:
    """Add the model that a command works on: M, or --model M, as in `samlet segment`."""
    parser.add_argument("model", nargs="?", metavar="M", help=text)
    parser.add_argument("--model", dest="named_model", metavar="M", help="another way to name M")


def add_output(parser: Parser, what: str, replaced: str, required: bool = True) -> None:
    """Add --out and --overwrite."""
    parser.add_argument("--out", type=Path, required=required, metavar="DIR", help=what)
    parser.add_argument("--overwrite", action="store_true", help=f"replace {replaced} in DIR")


def add_image_size(parser: Parser) -> None:
    """Add --image-size."""
    parser.add_argument(
        "--image-size",
        type=whole(bounds.IMAGE_SIZE),
        metavar="N",
        help="side of the encoder's square input in pixels, a multiple of 16; the model's own (1024) if not given. "
        "Smaller is faster and coarser",
    )


STORES = {
    "float32": "every weight as it is",
    "fp16": "matrices as 16-bit floats, half the bytes",
    "int8": "matrices as 8-bit integers, about a quarter of the bytes",
}
"""How `samlet.save` stores weights, said without importing it; a test sees that they are the same."""


def add_store(parser: Any, default: str) -> None:
    """Add --store."""
    choice(parser, "--store", STORES, default, "how the weights are stored in the file; they compute in float32")


LABEL_FORMATS = {
    "coco": "instances.json for all images, with polygons",
    "jsonl": "masks.jsonl, one line an image, with all that is known",
    "label-map": "ID.png of 16 bits, number k + 1 where mask k lies, the smallest on top",
    "labelme": "ID.json with polygons, or a mask where an object has holes",
    "png": "ID/0.png, ID/1.png, … and ID/metadata.csv, as segment-anything's script writes",
    "sa1b": "ID.json in SA-1B's layout, which --data of other commands reads",
    "yolo": "labels/ID.txt with a polygon a line, images/ with copies, data.yaml",
}
"""The formats of `samlet.labels`, said without importing it; a test sees that none is missing."""


def add_label_format(group: Any, default: str | None, required: bool = False) -> None:
    """Add --format, --class and --tolerance."""
    said = "; ".join(f"{name}: {what}" for name, what in LABEL_FORMATS.items())
    usual = "" if default is None else f". Default {default}"
    group.add_argument(
        "--format",
        choices=tuple(LABEL_FORMATS),
        default=default,
        required=required,
        metavar="NAME",
        help=f"label files. {said}{usual}",
    )
    group.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="what every mask is, in coco, labelme and yolo; default object",
    )
    group.add_argument(
        "--tolerance",
        type=float,
        metavar="PIXELS",
        help="how far polygons (coco, labelme, yolo) may be from the edge of their mask; more is fewer corners, 0 "
        "follows every pixel; default 1",
    )


def add_mask_filters(group: Any, usual_iou: str, usual_stability: str) -> None:
    """Add --pred-iou-thresh, --stability-score-thresh and --min-area; the texts say what is done without the first."""
    group.add_argument(
        "--pred-iou-thresh",
        type=float,
        metavar="X",
        help=f"masks with a predicted IoU of X or less are dropped; {usual_iou}",
    )
    group.add_argument(
        "--stability-score-thresh",
        type=float,
        metavar="X",
        help=f"masks with a stability below X are dropped; {usual_stability}",
    )
    group.add_argument(
        "--min-area",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="masks that cover a smaller share of the photograph, such as 0.0005, are dropped; default %(default)s",
    )


def choice(parser: Any, name: str, choices: Mapping[Any, str], default: str, what: str) -> None:
    """An option whose help says what every choice is."""
    explained = "; ".join(f"{choice}: {meaning}" for choice, meaning in choices.items()).replace("%", "%%")
    parser.add_argument(
        name, choices=tuple(choices), default=default, metavar="NAME", help=f"{what}. {explained}. Default {default}"
    )
