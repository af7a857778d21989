"""The options of `samlet distill`."""

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


def add_distill(commands: Any) -> None:
    """Add `samlet distill`."""
    parser = add_command(
        commands,
        "distill",
        "train a small student to answer as a teacher does, with or without labels",
        "Full-stage distillation with hard prompts and hard masks (TinySAM, Shu et al., AAAI 2025; sections and\n"
        "equations below are that paper's): the student learns the teacher's image embedding, the output tokens of\n"
        "its mask decoder and its mask logits, and the true masks. Photographs without masks are labelled first, by\n"
        "the teacher's own everything mode or by --labeller, which may be better than the teacher.\n\n"
        "PATH is an SA-1B folder (ID.jpg + ID.json), shard (.tar) or folder of shards, a COCO or LVIS v1 JSON\n"
        "(images in images/ beside it, or --images DIR), label maps, what `samlet label` wrote (with --images DIR),\n"
        "or a plain folder of photographs. Some photographs are held out, and mean IoU is measured there.\n\n"
        "Writes the model (config.json, model.safetensors, provenance.json), report.md with its pictures, and run/\n"
        "with logs (log.jsonl, TensorBoard). A run that was stopped, even killed, continues with the same command.\n\n"
        "The published settings, as far as they are known: --student tiny_vit --teacher sam_vit_h --epochs 8\n"
        "--prompts 64 --clicks replace\n\n"
        "Several processes or machines: torchrun --nproc-per-node 2 -m samlet distill …",
    )
    parser.add_argument("--teacher", required=True, metavar="M", help=MODEL)
    parser.add_argument(
        "--student",
        required=True,
        metavar="M",
        help="the model to begin from, a slimmed one too; or tiny_vit: TinyViT-5M from scratch, with the teacher's "
        "prompt encoder and mask decoder (wants --layer-decay 1)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="see above")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images are, if not beside their masks")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N photographs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the student")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model or run in DIR")
    add_image_size(parser)
    parser.add_argument(
        "--teacher-size",
        type=int,
        metavar="N",
        help="side of the teacher's input; the student's if not given. Its embedding and masks are resampled to the "
        "student's grid",
    )
    _add_labels(parser.add_argument_group("photographs without masks"))
    _add_losses(parser.add_argument_group("losses"))
    _add_prompts(parser.add_argument_group("prompts"))
    _add_training(parser.add_argument_group("training"))
    add_reading(parser)
    add_machine(parser, seed=True)


def _add_labels(group: Any) -> None:
    group.add_argument(
        "--labeller",
        metavar="M",
        help="whose masks stand in for true ones: any model that `samlet label` takes; the teacher if not given",
    )
    group.add_argument(
        "--pred-iou-thresh",
        type=float,
        metavar="X",
        help="masks of a predicted IoU of at most this are dropped; 0.88, for SAM 2 0.8, if not given",
    )
    group.add_argument(
        "--stability-score-thresh",
        type=float,
        metavar="X",
        help="masks less stable than this are dropped; 0.95 if not given",
    )


def _add_losses(group: Any) -> None:
    for name, default, what in (
        ("embedding", 1.0, "alpha, of the distance of the image embeddings (eq. 2)"),
        ("token", 1.0, "beta, of the distance of the decoder's output tokens (eq. 3)"),
        ("output", 0.1, "gamma, of the distance of the mask logits (eq. 4)"),
        ("mask", 1.0, "of focal and dice loss against the true masks (eq. 7)"),
        ("iou", 1.0, "of the distance of predicted and actual IoU (eq. 7)"),
    ):
        group.add_argument(
            f"--{name}-weight",
            dest=name,
            type=float,
            default=default,
            metavar="X",
            help=f"{what}; default %(default)s",
        )
    group.add_argument(
        "--no-hard-masks",
        action="store_true",
        help="all masks alike, not weighted by how much worse than the teacher the student is there (eq. 6); the "
        "weights of a photograph's masks have the mean 1",
    )
    choice(
        group,
        "--train",
        {"all": "image encoder and mask decoder", "encoder": "the image encoder alone, as in MobileSAM"},
        "all",
        "what of the student is trained",
    )


def _add_prompts(group: Any) -> None:
    group.add_argument(
        "--rounds",
        type=int,
        default=9,
        metavar="N",
        help="most rounds of hard prompt sampling; each prompt draws its own number from 0 to N, each as likely as the "
        "others; 0 for easy prompts; default %(default)s (TinySAM's)",
    )
    choice(
        group,
        "--clicks",
        {
            "accumulate": "a round adds a click where truth and prediction differ, foreground or background",
            "replace": "a round asks with one new click in what the prediction missed (eqs. 8 and 9)",
        },
        "accumulate",
        "what a round does",
    )
    group.add_argument(
        "--prompts",
        type=int,
        default=64,
        metavar="N",
        help="prompts of a step, over all its photographs; default %(default)s (TinySAM's)",
    )
    group.add_argument(
        "--boxes", type=float, default=0.5, metavar="X", help="share of the prompts that are boxes; default %(default)s"
    )
    group.add_argument(
        "--box-noise",
        type=float,
        default=0.05,
        metavar="X",
        help="deviation of a box's corners, as a share of its sides; default %(default)s",
    )


def _add_training(group: Any) -> None:
    length = group.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps")
    length.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the photographs; 8 if no length is given (TinySAM's)",
    )
    add_minutes(length)
    group.add_argument(
        "--learning-rate", type=float, default=1e-4, metavar="X", help="of Adam, at its peak; default %(default)s"
    )
    group.add_argument(
        "--layer-decay",
        type=float,
        default=0.8,
        metavar="X",
        help="factor of the learning rate from each block of the encoder to the one before; 1 for none, which a "
        "student from scratch wants; default %(default)s",
    )
    group.add_argument("--augment", action="store_true", help="mirror, scale and colour the photographs at random")
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep the teacher's embeddings there for other runs; they are computed once in any case, but with "
        "--augment. 4 MB an image at 1024 px",
    )
    add_training(group)
