"""The options of `samlet quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import MODEL, add_command, add_image_size, add_machine, add_reading, choice


def add_quantize(commands: Any) -> None:
    """Add `samlet quantize`."""
    parser = add_command(
        commands,
        "quantize",
        "round weights and activations to a few bits, by a search on a few photographs without labels",
        "Post-training quantization (TinySAM, Shu et al., AAAI 2025, section 3.3). A few photographs show what every\n"
        "layer computes and how much the masks and predicted IoUs mind its errors; then each layer's steps are\n"
        "searched: one an output channel for its weights, one or two for its inputs. No labels, no training.\n\n"
        "The result is a model like any other, for `samlet evaluate` and `samlet segment`, that imitates integers in\n"
        "float arithmetic: it is not faster. It tells what any number of bits costs, and `samlet export` turns the\n"
        "steps of scheme integer into integers that run.\n\n"
        "Writes the model (config.json, model.safetensors with integer weights, provenance.json), report.md with the\n"
        "error of every layer, errors.png, comparison.png, and run/. A run that was stopped, even killed, continues\n"
        "with the same command.",
    )
    parser.add_argument("model", metavar="M", help=MODEL)
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="a folder of photographs, of which some are drawn"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the quantized model")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model or run in DIR")
    group = parser.add_argument_group("bits")
    for option, what in (("--weights", "weight"), ("--activations", "input of a layer")):
        group.add_argument(
            option,
            type=int,
            default=8,
            metavar="BITS",
            help=f"of one {what}, 2 to 8, or 16 to leave them float; default %(default)s",
        )
    group.add_argument(
        "--mixed",
        type=float,
        metavar="BITS",
        help="average bits in place of both, 4 to 8: each layer gets 4, 6 or 8 by how much it minds. The average is "
        "weighted by multiply-accumulates",
    )
    group.add_argument(
        "--weight-group",
        type=int,
        metavar="N",
        help="chunks of N input channels have steps of their own in every output channel, as 32 or 64 for weights of 4 "
        "bits; without, an output channel has one step",
    )
    group.add_argument(
        "--keep-float",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="layers that stay float, by name; * stands for anything, as in 'mask_decoder.*'",
    )
    _add_search(parser.add_argument_group("search"))
    add_image_size(parser)
    add_reading(parser)
    add_machine(parser, seed=True)


def _add_search(group: Any) -> None:
    choice(
        group,
        "--metric",
        {
            "hessian": "the least error of each layer's output, weighted by the curvature of the divergence of masks "
            "and predicted IoUs (eq. 11)",
            "mse": "the least error, unweighted",
            "percentile": "inputs to their 99.99th percentile, weights to their largest; no search",
            "minmax": "both to their largest; no search",
        },
        "hessian",
        "how steps are found",
    )
    choice(
        group,
        "--scheme",
        {
            "twin": "the paper's: two ranges after GELU and softmax, the products of attention quantized too",
            "log": "as twin, but the levels of attention weights are powers of a root of two (PTQ4SAM)",
            "integer": "what integer kernels compute: one range a tensor, with a zero point where it is lopsided; "
            "the products of attention and masks stay float",
        },
        "twin",
        "what quantizers there are",
    )
    for option, default, what in (
        ("--calibration-images", 8, "photographs drawn from --images (paper: 8)"),
        ("--prompts", 16, "asked on each: half points of a grid, half boxes of the model's own answers"),
        ("--candidates", 100, "steps tried at a time, from 0.01 to 1.2 of the largest value (paper: 100)"),
        ("--rounds", 3, "how often weights and inputs take turns at most (paper: 3)"),
    ):
        group.add_argument(option, type=int, default=default, metavar="N", help=f"{what}; default %(default)s")
