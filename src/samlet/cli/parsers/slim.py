"""The options of `samlet slim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import (
    MODEL,
    add_command,
    add_image_size,
    add_machine,
    add_minutes,
    add_reading,
    add_training,
    choice,
)


def add_slim(commands: Any) -> None:
    """Add `samlet slim`."""
    parser = add_command(
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
    parser.add_argument("--teacher", required=True, metavar="M", help=MODEL)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="a folder of photographs")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--ratio",
        type=float,
        metavar="R",
        help="share of the channels to cut, between 0 and 1; 0.5 cuts about 70%% of the MACs; 0.5 if no size is given",
    )
    for option, what, example in (
        ("--macs", "multiply-accumulates of the encoder (linear layers and convolutions)", "11.5G"),
        ("--latency", "time of the encoder on this machine, or by --latency-table on another", "200ms"),
        ("--parameters", "weights of the encoder", "3M"),
    ):
        size.add_argument(
            option,
            metavar="X",
            help=f"{what}, in place of --ratio: a share of the teacher's, such as 0.3, or an amount, such as {example}"
            "; which part is cut by how much is searched (beyond the paper)",
        )
    size.add_argument(
        "--like",
        metavar="M",
        help="in place of --ratio: the widths of a model that was slimmed before, so that nothing has to be searched",
    )
    choice(
        parser,
        "--widths",
        {
            "searched": "each part is cut alone and refitted; cuts are made where a saving costs the least error",
            "even": "every part is cut alike",
        },
        "searched",
        "how --macs, --latency or --parameters is divided",
    )
    parser.add_argument(
        "--latency-table",
        type=Path,
        metavar="FILE",
        help="times on the machine that the model is for, made there with `samlet cost M --table FILE`",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the slimmed model")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model or run in DIR")
    add_image_size(parser)
    _add_slim_pruning(parser.add_argument_group("what is cut"))
    _add_slim_procedure(parser.add_argument_group("procedure"))
    _add_slim_training(parser.add_argument_group("training"))
    add_reading(parser)
    add_machine(parser, seed=True)


def _add_slim_pruning(group: Any) -> None:
    choice(
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
    choice(
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
    choice(
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
    choice(
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
        metavar="N",
        help="photographs on which the layers of a cut model are refitted by least squares, before any training "
        "(beyond the paper); random views of them where there are fewer; 0 for none; if not given, photographs that "
        "make 96 of 512 px where there are so many, and views that make 32 otherwise; fewer where --minutes is short",
    )


def _add_slim_procedure(group: Any) -> None:
    choice(
        group,
        "--procedure",
        {
            "alternate": "cut embeddings, align bottlenecks, cut bottlenecks, align embeddings (section 3.2)",
            "one-step": "cut everything at once, then align the final embedding (baseline)",
        },
        "alternate",
        "order of cutting and aligning",
    )
    choice(
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
    group.add_argument(
        "--then",
        metavar="COMMAND",
        help='what follows: distill, or in quotes distill with options of `samlet distill`, such as "distill --steps '
        '200 --data PATH". The slimmed model is then DIR-slimmed, and DIR what was distilled from it; the same as two '
        "commands",
    )
    for option, what, default in (
        ("--bottleneck-alpha", "alpha while bottlenecks are aligned (eqs. 5, 6)", "constant"),
        ("--embedding-alpha", "alpha while embeddings are aligned (eqs. 7, 8)", "dynamic"),
    ):
        choice(
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
    choice(
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
    length.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="optimizer steps in all, half for each aligning stage; 0 to cut and refit only",
    )
    length.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the photographs in all; 40 if no length is given (SlimSAM)",
    )
    add_minutes(length)
    group.add_argument(
        "--learning-rate",
        type=float,
        default=1e-4,
        metavar="X",
        help="of Adam, at its peak (paper: 1e-4); default %(default)s. Without recovery short runs want 1e-3",
    )
    group.add_argument("--no-augment", action="store_true", help="do not crop and mirror photographs at random")
    group.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="take N fixed random views of each photograph in turns, not a new one each time, which --cache can keep",
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep the teacher's final embeddings there, computed once for all epochs and runs; needs --no-augment or "
        "--views. At 1024 px 4 MB a photograph, or 2 MB a view",
    )
    add_training(group)
