"""The parser: every command with its options. The work is imported only when a command runs."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from samlet import __version__

_MODEL = "a zoo name (see `samlet models`), a model folder, or a checkpoint file (.pth, .pt, .safetensors)"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, saying what and where to read on."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _command(module: str) -> Callable[[argparse.Namespace], None]:
    """Import the command's module on its first use, so that `--help` does not wait for torch."""

    def run(options: argparse.Namespace) -> None:
        importlib.import_module(f"samlet.cli.{module}").run(options)

    return run


def _add(commands: Any, name: str, summary: str, description: str) -> Parser:
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=_command(name))
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    return parser


def _add_machine(parser: Parser, seed: bool = False) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads; all cores if not given")
    group.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …; default %(default)s")
    if seed:
        group.add_argument("--seed", type=int, default=0, metavar="N", help="default %(default)s")


def _add_image_size(parser: Parser) -> None:
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="side of the encoder's square input in pixels, a multiple of 16; the model's own (1024) if not given. "
        "Smaller is faster and coarser",
    )


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="samlet",
        description="Make Segment Anything Models small, and prove it.",
        epilog="`samlet COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 your input needs mending.",
    )
    parser.add_argument("--version", action="version", version=f"samlet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _add_models(commands)
    _add_segment(commands)
    _add_cost(commands)
    _add_slim(commands)
    _add_evaluate(commands)
    return parser


def _add_models(commands: Any) -> None:
    _add(
        commands,
        "models",
        "list the zoo",
        "List the models that samlet knows by name: encoder, parameters, multiply-accumulates, licence, where the\n"
        "weights come from, and whether they are on this disk. `mobile_sam` ships inside the package; the others are\n"
        "downloaded on first use.",
    )


def _add_segment(commands: Any) -> None:
    parser = _add(
        commands,
        "segment",
        "masks for points and boxes on one image",
        "Segment what you point at. All --point values together are one prompt: foreground (1, the default) and\n"
        "background (0) clicks on one object. Each --box is a prompt of its own; with exactly one box, points refine\n"
        "it. A single click or box is ambiguous, so the best of three masks is returned; with more clicks the\n"
        "single-mask output. Writes masks.json (COCO RLE, predicted IoU, stability score, box, area) and overlay.png.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP, BMP or TIFF")
    parser.add_argument("--model", default="mobile_sam", metavar="M", help=f"{_MODEL}; default %(default)s")
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
    _add_image_size(parser)
    _add_machine(parser)


def _add_cost(commands: Any) -> None:
    parser = _add(
        commands,
        "cost",
        "parameters, MACs, latency and memory of a model",
        "Say what a model costs. Multiply-accumulates (MACs) are counted by both conventions in print: `modules`\n"
        "counts linear layers, convolutions (SlimSAM's figures), `total` the products of attention too (TinySAM's).\n"
        "Both papers' figures are of the whole model with one prompt. Latency is measured here, as a median after a\n"
        "warm-up; peak memory in a fresh process.",
    )
    parser.add_argument("model", metavar="M", help=_MODEL)
    parser.add_argument("--no-measure", action="store_true", help="only count; a zoo model needs no weights then")
    _add_image_size(parser)
    _add_machine(parser)


def _add_slim(commands: Any) -> None:
    parser = _add(
        commands,
        "slim",
        "prune a model's image encoder and align it with its teacher, without labels",
        "Make a model smaller with photographs and no labels (SlimSAM, NeurIPS 2024). Channels of the residual\n"
        "streams are cut by disturbed Taylor importance, the inside of the blocks is aligned with the teacher, then\n"
        "channels inside the blocks are cut, and the embeddings are aligned. Prompt encoder and mask decoder stay.\n"
        "Some of the photographs are held out; agreement is the mean IoU with the teacher's masks there. Writes the\n"
        "model (config.json, model.safetensors, provenance.json), comparison.png and report.md.",
    )
    parser.add_argument("--teacher", required=True, metavar="M", help=_MODEL)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="a folder of photographs")
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.5,
        metavar="R",
        help="share of the channels to cut, between 0 and 1; 0.5 cuts about 70%% of the MACs; default %(default)s",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the slimmed model")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps in all, half for each aligning stage")
    length.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the photographs in all; 40 if neither is given (SlimSAM)"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=1e-3, metavar="X", help="of Adam, at its peak; default %(default)s"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=4,
        metavar="N",
        help="images whose gradients make one step (SlimSAM: 4); default %(default)s",
    )
    parser.add_argument(
        "--scoring-images",
        type=int,
        default=64,
        metavar="N",
        help="photographs that importance is estimated on (SlimSAM: 1000); default %(default)s",
    )
    parser.add_argument(
        "--loss",
        choices=("relative", "mse"),
        default="relative",
        help="how features are compared: mse as in the paper, or relative, mse over the target's variance; "
        "default %(default)s",
    )
    parser.add_argument("--no-augment", action="store_true", help="do not crop and mirror photographs at random")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model in DIR")
    _add_image_size(parser)
    _add_machine(parser, seed=True)


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands,
        "evaluate",
        "mean IoU of a model on a dataset",
        "Measure mean IoU with point or box prompts. `single` is the single-mask output, `best` the multimask output\n"
        "of highest predicted IoU, `oracle` the best of the three against the truth; each the mean over masks, with a\n"
        "95% bootstrap interval over images. PATH is an SA-1B folder (ID.jpg + ID.json), a COCO JSON (images in\n"
        "images/ beside it, or --images DIR), or a plain folder of images, which needs --reference.",
    )
    parser.add_argument("model", metavar="M", help=_MODEL)
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="SA-1B folder, COCO JSON or images")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images are, if not beside the annotations")
    parser.add_argument("--prompt", choices=("point", "box"), default="point", help="default %(default)s")
    parser.add_argument("--reference", metavar="M", help="a model whose masks count as true")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N images")
    _add_image_size(parser)
    _add_machine(parser, seed=True)
