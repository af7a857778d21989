"""Where a model can go: a row for each target says what its files can hold and which module writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from samlet.precisions import Precision

Kind = Literal["graphs", "bundle", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target of `samlet export`.

    Attributes:
        help: what it is, for `--help`.
        kind: `graphs` for a runtime that samlet runs in the model's place (`samlet.runtimes`): encoder and decoder,
            each a file; `bundle` for files of one program (`samlet.export.bundles`); `checkpoint` for weights that are
            read again.
        module: of `samlet.export`. With graphs it has `write`, see `samlet.export.graph_files.Writer`.
        needs: packages without which it can be neither written nor run.
        extra: of samlet that installs them.
        precisions: that its files can be written in.
        fixed_sizes: one image size, one number of prompts and of points, for every model.
        full_masks: the decoder can draw masks at the photograph's size.
        own_int8: int8 is chosen by the runtime's own rules, not by samlet's search.
        int8_rest: in what the products of an int8 model that stay float are computed, where the machine can.
        variants: precisions that a bundle holds beside each other; float16 is left out of models too large for it.
    """

    help: str
    kind: Kind
    module: str
    needs: tuple[str, ...] = ()
    extra: str = "export"
    precisions: tuple[Precision, ...] = ("float32",)
    fixed_sizes: bool = False
    full_masks: bool = False
    own_int8: bool = False
    int8_rest: Literal["bf16"] | None = None
    variants: tuple[Precision, ...] = ()


_ONNX = ("onnx", "onnxscript", "onnxruntime")

TARGETS: dict[str, Target] = {
    "onnx": Target(
        help="encoder.onnx and decoder.onnx, for ONNX Runtime everywhere, a browser included",
        kind="graphs",
        module="onnx_graphs",
        needs=_ONNX,
        precisions=("float32", "float16", "int8"),
        full_masks=True,
    ),
    "openvino": Target(
        help="encoder.xml and decoder.xml with their .bin, for Intel and AMD processors",
        kind="graphs",
        module="openvino_graphs",
        needs=("openvino",),
        precisions=("float32", "float16", "bfloat16", "int8"),
        full_masks=True,
        int8_rest="bf16",
    ),
    "executorch": Target(
        help="encoder.pte and decoder.pte with XNNPACK, for phones; fixed sizes",
        kind="graphs",
        module="executorch_programs",
        needs=("executorch", "torchao"),
        extra="executorch",
        precisions=("float32", "int8"),
        fixed_sizes=True,
        own_int8=True,
    ),
    "hf": Target(
        help="a folder that transformers' SamModel or Sam2Model loads", kind="checkpoint", module="checkpoint_files"
    ),
    "segment-anything": Target(help="the published state dict", kind="checkpoint", module="checkpoint_files"),
    "transformers.js": Target(
        help="the repository that its SamModel or Sam2Model loads, in float32, float16 and int8",
        kind="bundle",
        module="transformers_js",
        needs=_ONNX,
        variants=("float32", "float16", "int8"),
    ),
    "anylabeling": Target(
        help="a zip that AnyLabeling and X-AnyLabeling load as a custom model",
        kind="bundle",
        module="anylabeling",
        needs=_ONNX,
    ),
}
"""Every target by its name."""


def named(kind: Kind) -> tuple[str, ...]:
    """Names of the targets of a kind."""
    return tuple(name for name, target in TARGETS.items() if target.kind == kind)


def holding(precision: Precision) -> tuple[str, ...]:
    """Names of the targets that can be written in a precision."""
    return tuple(name for name, target in TARGETS.items() if precision in target.precisions)
