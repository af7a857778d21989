"""The options of `samlet export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.options import add_settings
from samlet.cli.parsers.common import MODEL, add_command, add_machine, add_model, add_output, add_reading, choice
from samlet.export.config import ExportConfig
from samlet.export.targets import TARGETS
from samlet.quantization.config import QuantConfig


def add_export(commands: Any) -> None:
    """Add `samlet export`."""
    parser = add_command(
        commands,
        "export",
        "write a model for another runtime, after it has been run there and agrees with its source",
        "Writes image encoder and mask decoder apart, in a folder that samlet runs as it runs any model: evaluate,\n"
        "segment, compare and cost take it. The decoder takes any number of points, boxes as two labelled points,\n"
        "and a mask, for many prompts at once, and answers low-res logits and predicted IoUs.\n\n"
        "The gate: the export is run in its own runtime, on real photographs, against the source model. Masks that\n"
        "do not agree, or an int8 export that is not smaller and faster than float32 on this machine, are refused\n"
        "with the figures, and nothing is written.\n\n"
        "--int8 searches scales on photographs (as `samlet quantize --scheme integer` does), or takes those of a\n"
        "model that is quantized so already, and writes integers that the runtime computes as integers.",
    )
    add_model(parser, MODEL)
    choice(parser, "--to", {name: target.help for name, target in TARGETS.items()}, "onnx", "the target")
    add_output(parser, "a new folder for the export", "an earlier export")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="photographs to compare on and, with --int8, to calibrate on; without, four that samlet brings along",
    )
    group = parser.add_argument_group("precision")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--int8", action="store_true", help="weights and products in 8-bit integers")
    which.add_argument("--fp16", action="store_true", help="weights and products in float16, checked for overflow")
    which.add_argument("--bf16", action="store_true", help="products in bfloat16 where the CPU has it (openvino)")
    add_settings(group, QuantConfig, only=("metric", "calibration_images", "keep_float"))
    add_settings(parser, ExportConfig)
    add_reading(parser)
    add_machine(parser, seed=True)
