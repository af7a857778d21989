"""The options of `samlet models` and `samlet cost`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import RUNNABLE, add_command, add_image_size, add_machine, add_model


def add_models(commands: Any) -> None:
    """Add `samlet models`."""
    add_command(
        commands,
        "models",
        "list the zoo",
        "List the models that samlet knows by name: encoder, parameters, multiply-accumulates, licence, where the\n"
        "weights come from, and whether they are on this disk. `samlet_s`, `samlet_m` and `mobile_sam` are in the\n"
        "package; the others are downloaded on first use.",
    )


def add_cost(commands: Any) -> None:
    """Add `samlet cost`."""
    parser = add_command(
        commands,
        "cost",
        "parameters, MACs, latency and memory of a model",
        "Say what a model costs. Multiply-accumulates (MACs) are counted by both conventions in print: `modules`\n"
        "counts linear layers, convolutions (SlimSAM's figures), `total` the products of attention too (TinySAM's).\n"
        "Both papers' figures are of the whole model with one prompt. Latency is measured here, as a median after a\n"
        "warm-up; peak memory in a fresh process.",
    )
    add_model(parser, RUNNABLE)
    parser.add_argument("--no-measure", action="store_true", help="only count; a zoo model needs no weights then")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="time the encoder at other widths too, for `samlet slim --latency X --latency-table FILE` on any machine",
    )
    add_image_size(parser)
    add_machine(parser)
