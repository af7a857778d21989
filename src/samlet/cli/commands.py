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
    _add_compare(commands)
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
        "masks for points and boxes, or everything, on images and videos",
        "Segment what you point at. All --point values together are one prompt: foreground (1, the default) and\n"
        "background (0) clicks on one object. Each --box is a prompt of its own; with exactly one box, points refine\n"
        "it. A single click or box is ambiguous, so the best of three masks is returned; with more clicks the\n"
        "single-mask output. Writes masks.json (COCO RLE, predicted IoU, stability score, box, area) and\n"
        "overlay.png.\n\n"
        "With --everything it needs no prompts: a grid of points is asked, and what is good, stable and not seen\n"
        "before stays (Segment Anything, section 5), or, cheaper, a sparse grid first and the rest only where that\n"
        "settled nothing (TinySAM, section 3.4). IMAGE may then also be a folder, or a video: masks.jsonl gets one\n"
        "line an image, in order, as they come. The same command continues a run that was stopped.",
    )
    parser.add_argument(
        "image",
        type=Path,
        metavar="IMAGE",
        help="JPEG, PNG, WebP, BMP or TIFF; with --everything also a folder or a video",
    )
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
    _add_everything(parser.add_argument_group("everything"))
    _add_many(parser.add_argument_group("everything, on a folder or a video"))
    _add_machine(parser)


def _add_everything(group: Any) -> None:
    group.add_argument("--everything", action="store_true", help="all masks of the image, without prompts")
    _choice(
        group,
        "--strategy",
        {"grid": "every point", "hierarchical": "a sparse grid first, then points that no good mask covers"},
        "grid",
        "which points are asked",
    )
    numbers: list[tuple[str, Any, Any, str]] = [
        ("--points-per-side", int, 32, "points a side of the grid"),
        ("--points-per-batch", int, 4, "prompts decoded together; on a GPU 64"),
        ("--pred-iou-thresh", float, 0.88, "masks of a predicted IoU of at most this are dropped"),
        ("--stability-score-thresh", float, 0.95, "masks less stable than this are dropped"),
        ("--stability-score-offset", float, 1.0, "stability: IoU of the masks so far above and below the threshold"),
        ("--box-nms-thresh", float, 0.7, "of two boxes whose IoU exceeds this the lower predicted IoU goes"),
        ("--crop-n-layers", int, 0, "layer i also runs on 2^i x 2^i crops"),
        ("--crop-nms-thresh", float, 0.7, "as --box-nms-thresh, between crops"),
        ("--crop-overlap-ratio", float, 512 / 1500, "overlap of crops, as a share of the shorter side"),
        ("--crop-n-points-downscale-factor", int, 1, "points a side are divided by this in each layer"),
        ("--min-mask-region-area", int, 0, "smaller holes and islands are removed, pixels"),
        ("--high-threshold", float, 8.5, "hierarchical: places above it are settled, a logit; inf asks the whole grid"),
        (
            "--refine",
            float,
            0.23,
            "hierarchical: share of the saved prompts to spend on a finer grid where least is settled",
        ),
    ]
    for name, kind, default, what in numbers:
        shown = f"{default:.4g}" if isinstance(default, float) else str(default)
        group.add_argument(
            name, type=kind, default=default, metavar="N" if kind is int else "X", help=f"{what}; default {shown}"
        )
    group.add_argument(
        "--sparse-points-per-side",
        type=int,
        metavar="N",
        help="hierarchical: points a side of the first round; a quarter of --points-per-side if not given",
    )
    _choice(
        group,
        "--settling",
        {"consensus": "several masks and the image's own features", "logits": "the highest logit alone, as in TinySAM"},
        "consensus",
        "hierarchical: what settles a place",
    )
    _choice(
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
    _choice(
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
    group.add_argument(
        "--format",
        choices=("jsonl", "sa1b"),
        help="masks.jsonl, one line an image (default), or SA-1B's ID.json files, which --data of other commands reads",
    )
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


def _choice(parser: Any, name: str, choices: dict[str, str], default: str, what: str) -> None:
    """An option whose help says what every choice is."""
    explained = "; ".join(f"{choice}: {meaning}" for choice, meaning in choices.items())
    parser.add_argument(
        name, choices=tuple(choices), default=default, metavar="NAME", help=f"{what}. {explained}. Default {default}"
    )


def _add_slim(commands: Any) -> None:
    parser = _add(
        commands,
        "slim",
        "prune a model's image encoder and align it with its teacher, without labels",
        "Make a model smaller with photographs and no labels (SlimSAM, Chen et al., NeurIPS 2024; sections and\n"
        "equations below are that paper's). Channels of the residual streams are cut by importance, the inside of the\n"
        "blocks is aligned with the teacher, then channels inside the blocks are cut, and the embeddings are aligned.\n"
        "Prompt encoder and mask decoder stay. Some of the photographs are held out; agreement is the mean IoU with\n"
        "the teacher's masks there.\n\n"
        "Writes the model (config.json, model.safetensors, provenance.json), report.md with its pictures, and run/\n"
        "with logs (log.jsonl, TensorBoard). A run that was stopped, even killed, continues with the same command.\n\n"
        "The published settings: --heads channels --recovery-images 0 --loss mse\n"
        "--schedule plateau --scoring-images 1000 --no-augment --epochs 40 (80 at ratio 0.77)\n\n"
        "Several processes or machines: torchrun --nproc-per-node 2 -m samlet slim …",
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
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model or run in DIR")
    _add_image_size(parser)
    _add_slim_pruning(parser.add_argument_group("what is cut"))
    _add_slim_procedure(parser.add_argument_group("procedure"))
    _add_slim_training(parser.add_argument_group("training"))
    _add_machine(parser, seed=True)


def _add_slim_pruning(group: Any) -> None:
    _choice(
        group,
        "--importance",
        {
            "disturbed-taylor": "|w x gradient| of the distance to the embedding plus noise, no labels (eq. 4)",
            "taylor": "|w x gradient| of the loss on labelled masks, needs --labels (the baseline of section 3.3)",
            "hessian": "squared gradients, one image at a time, over a mask on each channel (Hessian baseline)",
            "magnitude": "|w| (baseline)",
            "random": "chance (baseline)",
        },
        "disturbed-taylor",
        "how channels are scored",
    )
    group.add_argument("--labels", type=Path, metavar="PATH", help="SA-1B folder or COCO JSON for --importance taylor")
    _choice(
        group,
        "--accumulation",
        {
            "sum": "gradients are summed (published code)",
            "squares": "their squares are, whose noise does not average to zero (beyond the paper; no gain was found)",
        },
        "sum",
        "how the Taylor criteria gather gradients over images",
    )
    group.add_argument(
        "--noises",
        type=int,
        default=1,
        metavar="N",
        help="draws of noise on each scoring image, for disturbed-taylor and hessian; default %(default)s",
    )
    group.add_argument(
        "--scoring-images",
        type=int,
        default=64,
        metavar="N",
        help="photographs that importance is estimated on (published code: 1000); default %(default)s",
    )
    _choice(
        group,
        "--selection",
        {
            "uniform": "the same share of every block, also called local",
            "local": "the same",
            "gaussian": "global ranking, scores minus mean over deviation (the paper's choice)",
            "mean": "global, scores over their mean",
            "max": "global, over their maximum",
            "sum": "global, over their sum",
            "standardization": "global, minus minimum over range",
        },
        "gaussian",
        "which bottleneck channels stay (section 3.4); embeddings are always cut uniformly",
    )
    _choice(
        group,
        "--heads",
        {
            "whole": "whole attention heads are cut first, then channels in those that stay (beyond the paper; faster)",
            "channels": "every head loses the same channels (published)",
            "auto": "channels with the uniform selection, whole with all others",
        },
        "auto",
        "how attention is cut",
    )
    group.add_argument(
        "--recovery-images",
        type=int,
        default=64,
        metavar="N",
        help="photographs on which the layers of a cut model are refitted by least squares, before any training "
        "(beyond the paper); as many as fit 16 of 512 px at most; 0 for none; default %(default)s",
    )


def _add_slim_procedure(group: Any) -> None:
    _choice(
        group,
        "--procedure",
        {
            "alternate": "cut embeddings, align bottlenecks, cut bottlenecks, align embeddings (section 3.2)",
            "one-step": "cut everything at once, then align the final embedding (baseline)",
        },
        "alternate",
        "order of cutting and aligning",
    )
    _choice(
        group,
        "--stage",
        {
            "all": "the whole procedure",
            "first": "only embeddings are cut and bottlenecks aligned; the result is a model",
            "second": "only bottlenecks are cut and embeddings aligned, from the model that --student names",
            "align": "nothing is cut, the final embedding of --student is aligned further",
        },
        "all",
        "what of the procedure is run",
    )
    group.add_argument("--student", metavar="M", help="the model that --stage second or align begins from")
    for option, what, default in (
        ("--bottleneck-alpha", "alpha while bottlenecks are aligned (eqs. 5, 6)", "constant"),
        ("--embedding-alpha", "alpha while embeddings are aligned (eqs. 7, 8)", "dynamic"),
    ):
        _choice(
            group,
            option,
            {
                "constant": "0.5 in the first N epochs, then 0 (eq. 6)",
                "dynamic": "(N - n - 1) / N in epoch n of the first N, then 0 (eq. 8)",
                "off": "0, the final embedding alone",
            },
            default,
            what,
        )
    group.add_argument(
        "--alpha-epochs",
        type=int,
        metavar="N",
        help="N above (paper: 10); half of each stage if not given, which is the paper's 10 of 20",
    )
    _choice(
        group,
        "--loss",
        {
            "relative": "mean squared error over the target's variance (beyond the paper)",
            "mse": "mean squared error (eqs. 5 and 7)",
        },
        "relative",
        "how features are compared",
    )
    group.add_argument(
        "--decoder-aware",
        action="store_true",
        help="weight the final embedding's error by what the mask decoder reads of it (beyond the paper; no gain was "
        "found)",
    )


def _add_slim_training(group: Any) -> None:
    length = group.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps in all, half for each aligning stage")
    length.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the photographs in all; 40 if neither is given (SlimSAM)"
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        default=1e-4,
        metavar="X",
        help="of Adam, at its peak (paper: 1e-4); default %(default)s. Without recovery short runs want 1e-3",
    )
    _choice(
        group,
        "--schedule",
        {
            "cosine": "warm-up, then falls to 0 over each stage",
            "plateau": "halved after --patience epochs without gain on the photographs held out (the paper's)",
            "constant": "stays after a warm-up",
        },
        "cosine",
        "what the learning rate does",
    )
    group.add_argument("--patience", type=int, default=4, metavar="N", help="epochs (paper: 4); default %(default)s")
    group.add_argument(
        "--batch-size",
        type=int,
        default=4,
        metavar="N",
        help="images whose gradients make one step, over all processes (paper: 4); default %(default)s",
    )
    group.add_argument(
        "--micro-batch",
        type=int,
        default=1,
        metavar="N",
        help="images computed at once, the rest is accumulated; more is faster for small images and on GPUs and takes "
        "more memory; default %(default)s",
    )
    group.add_argument(
        "--clip", type=float, default=1.0, metavar="X", help="largest gradient norm; default %(default)s"
    )
    group.add_argument("--no-augment", action="store_true", help="do not crop and mirror photographs at random")
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep the teacher's final embeddings there, computed once for all epochs and runs; needs --no-augment. "
        "4 MB an image at 1024 px",
    )
    _choice(
        group,
        "--precision",
        {"fp32": "single", "bf16": "matrix products in bfloat16, weights and losses in single precision"},
        "fp32",
        "arithmetic",
    )
    group.add_argument(
        "--checkpoint-every", type=int, metavar="N", help="steps between checkpoints; one a minute if not given"
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


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands,
        "evaluate",
        "mean IoU of a model on a dataset",
        "Measure mean IoU. `single` is the single-mask output, `best` the multimask output of highest predicted IoU,\n"
        "`oracle` the best of the three against the truth; each the mean over masks, with a 95% bootstrap interval\n"
        f"over images.\n\n{_PATH}\n\n{_PROTOCOLS}\n"
        "Several processes: torchrun --nproc-per-node 2 -m samlet evaluate …",
    )
    parser.add_argument("model", metavar="M", help=f"{_MODEL}, or FastSAM as ONNX")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--prompt", choices=("point", "box"), help="short for --protocol sa1b-point or box")
    group.add_argument("--protocol", metavar="NAME", help="see above; default sa1b-point")
    _add_evaluation(parser)


def _add_compare(commands: Any) -> None:
    parser = _add(
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
    parser.add_argument("models", nargs="+", metavar="M", help=f"{_MODEL}, or FastSAM as ONNX")
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help="see above. May be repeated; sa1b-point and box if not given",
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
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N images")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the results, image by image")
    parser.add_argument("--overwrite", action="store_true", help="start again in DIR")
    _choice(
        parser,
        "--strategy",
        {"grid": "every point", "hierarchical": "see `samlet segment --help`"},
        "grid",
        "everything: which points are asked",
    )
    parser.add_argument(
        "--points-per-side", type=int, default=32, metavar="N", help="everything: of the grid; default %(default)s"
    )
    _add_image_size(parser)
    _add_machine(parser, seed=True)
