"""The options of `samlet quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.options import add_settings
from samlet.cli.parsers.common import MODEL, add_command, add_machine, add_model, add_output, add_reading
from samlet.quantization.config import QuantConfig


def add_quantize(commands: Any) -> None:
    """Add `samlet quantize`."""
    parser = add_command(
        commands,
        "quantize",
        "round weights and activations to a few bits, by a search on a few photographs without labels",
        "Post-training quantization (TinySAM, Shu et al., AAAI 2025, section 3.3). A few photographs show what every\n"
        "layer computes and how much its errors change masks and predicted IoUs; then each layer's scales are\n"
        "searched: one for each output channel of its weights, one or two for its inputs. No labels, no training.\n\n"
        "The result is a model like any other, for `samlet evaluate` and `samlet segment`, that imitates integers in\n"
        "float arithmetic: it is not faster. It tells what any number of bits costs, and `samlet export` turns the\n"
        "scales of scheme integer into integers that run.\n\n"
        "Writes the model (config.json, model.safetensors with integer weights, provenance.json), report.md with the\n"
        "error of every layer, errors.png, comparison.png, and run/. A run that was stopped, even killed, continues\n"
        "with the same command.",
    )
    add_model(parser, MODEL)
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="a folder of photographs, of which some are drawn"
    )
    add_output(parser, "a new folder for the quantized model", "an earlier model or run")
    add_settings(parser, QuantConfig)
    add_reading(parser)
    add_machine(parser, seed=True)
