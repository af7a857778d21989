"""The options of `samlet distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.options import add_settings
from samlet.cli.parsers.common import MODEL, add_command, add_machine, add_output, add_reading, add_store
from samlet.distillation.config import DistillConfig


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
    parser.add_argument("--teacher", "--model", required=True, metavar="M", help=MODEL)
    parser.add_argument(
        "--student",
        required=True,
        metavar="M",
        help="the model to begin from, a slimmed one too; or tiny_vit: TinyViT-5M from scratch, with the teacher's "
        "prompt encoder and mask decoder (best with --layer-decay 1)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="see above")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images are, if not beside their masks")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N photographs")
    add_output(parser, "a new folder for the student", "an earlier model or run")
    add_store(parser, "float32")
    labels = parser.add_argument_group("photographs without masks")
    labels.add_argument(
        "--labeller",
        metavar="M",
        help="whose masks stand in for true ones: any model that `samlet label` takes; the teacher if not given",
    )
    labels.add_argument(
        "--pred-iou-thresh",
        type=float,
        metavar="X",
        help="masks with a predicted IoU of X or less are dropped; 0.88, for SAM 2 0.8, if not given",
    )
    labels.add_argument(
        "--stability-score-thresh",
        type=float,
        metavar="X",
        help="masks with a stability below X are dropped; 0.95 if not given",
    )
    groups = {name: parser.add_argument_group(name) for name in ("losses", "prompts", "training")}
    add_settings(parser, DistillConfig, groups)
    add_reading(parser)
    add_machine(parser, seed=True)
