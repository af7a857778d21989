"""The options of `samlet slim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.options import add_settings
from samlet.cli.parsers.common import MODEL, add_command, add_machine, add_output, add_reading, add_store, choice
from samlet.slimming.config import SlimConfig


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
        "Several processes or machines: torchrun --nproc-per-node 2 -m samlet slim …\n\n"
        "A criterion, selection or loss of your own: SAMLET_PLUGINS=MODULE samlet slim … (docs/how-to/extending.md)",
    )
    parser.add_argument("--teacher", "--model", required=True, metavar="M", help=MODEL)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="a folder of photographs")
    add_output(parser, "a new folder for the slimmed model", "an earlier model or run")
    add_store(parser, "float32")
    cut = parser.add_argument_group("what is cut")
    cut.add_argument("--labels", type=Path, metavar="PATH", help="SA-1B folder or COCO JSON for --importance taylor")
    choice(
        cut,
        "--heads",
        {
            "whole": "whole attention heads are cut first, then channels in those that stay (beyond the paper; faster)",
            "channels": "every head loses the same channels (published)",
            "auto": "channels with the uniform selection, whole with all others",
        },
        "auto",
        "how attention is cut",
    )
    procedure = parser.add_argument_group("procedure")
    procedure.add_argument("--student", metavar="M", help="the model that --stage second or align begins from")
    procedure.add_argument(
        "--then",
        metavar="COMMAND",
        help='what follows: distill, or in quotes distill with options of `samlet distill`, such as "distill --steps '
        '200 --data PATH". The slimmed model is then DIR-slimmed, and DIR what was distilled from it; the same as two '
        "commands",
    )
    add_settings(parser, SlimConfig, {"what is cut": cut, "procedure": procedure})
    add_reading(parser)
    add_machine(parser, seed=True)
