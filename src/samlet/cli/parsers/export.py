"""The options of `samlet export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import MODEL, add_command, add_image_size, add_machine, add_reading, choice


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
        "--int8 searches steps on photographs (as `samlet quantize --scheme integer` does), or takes those of a model\n"
        "that is quantized so already, and writes integers that the runtime computes as integers.",
    )
    parser.add_argument("model", metavar="M", help=MODEL)
    choice(
        parser,
        "--to",
        {
            "onnx": "ONNX Runtime everywhere, a browser included",
            "openvino": "Intel and AMD processors",
            "executorch": "phones, by XNNPACK; fixed sizes",
            "hf": "transformers' SamModel or Sam2Model",
            "segment-anything": "the published state dict",
            "transformers.js": "the repository that its SamModel or Sam2Model loads, in float32, float16 and int8",
            "anylabeling": "model.zip, a custom model of AnyLabeling and X-AnyLabeling",
        },
        "onnx",
        "the target",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the export")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="photographs to compare on and, with --int8, to calibrate on; without, four that samlet brings along",
    )
    parser.add_argument(
        "--full-masks",
        action="store_true",
        help="the decoder also answers masks at the photograph's size, which is one input more (onnx, openvino)",
    )
    choice(
        parser,
        "--layout",
        {
            "samlet": "encoder.onnx and decoder.onnx",
            "segment-anything": "beside them segment_anything.onnx, a decoder with the names and the layout of "
            "segment-anything's own exporter, which programs written for its files take",
        },
        "samlet",
        "what the decoder's inputs are called (onnx)",
    )
    add_image_size(parser)
    group = parser.add_argument_group("precision")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--int8", action="store_true", help="weights and products in 8-bit integers")
    which.add_argument("--fp16", action="store_true", help="weights and products in float16, checked for overflow")
    which.add_argument("--bf16", action="store_true", help="products in bfloat16 where the CPU has it (openvino)")
    choice(
        group,
        "--metric",
        {
            "hessian": "see `samlet quantize`",
            "mse": "least error",
            "percentile": "99.99 % of values",
            "minmax": "largest value",
        },
        "hessian",
        "how steps are found",
    )
    group.add_argument(
        "--calibration-images", type=int, default=8, metavar="N", help="photographs of --images; default %(default)s"
    )
    group.add_argument(
        "--keep-float",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="layers that stay float, by name; * stands for anything",
    )
    gate = parser.add_argument_group("gate")
    gate.add_argument(
        "--least-agreement",
        type=float,
        metavar="X",
        help="mask IoU with the source model to reach; 0.99 for float32 and float16, 0.97 for bfloat16, 0.90 for int8",
    )
    gate.add_argument("--force", action="store_true", help="write what is refused, and mark the folder")
    sizes = parser.add_argument_group("fixed sizes (executorch)")
    sizes.add_argument("--prompts", type=int, default=16, metavar="N", help="answered at once; default %(default)s")
    sizes.add_argument("--points", type=int, default=4, metavar="N", help="a prompt; default %(default)s")
    add_reading(parser)
    add_machine(parser, seed=True)
