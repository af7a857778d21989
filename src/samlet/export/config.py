"""Settings of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from samlet.errors import InputError

Target = Literal["onnx", "openvino", "executorch", "hf", "segment-anything", "transformers.js", "anylabeling"]
TARGETS: dict[Target, str] = {
    "onnx": "encoder.onnx and decoder.onnx, for ONNX Runtime everywhere, a browser included",
    "openvino": "encoder.xml and decoder.xml with their .bin, for Intel and AMD processors",
    "executorch": "encoder.pte and decoder.pte with XNNPACK, for phones; fixed sizes",
    "hf": "a folder that transformers' SamModel or Sam2Model loads",
    "segment-anything": "the published state dict",
    "transformers.js": "the repository that its SamModel or Sam2Model loads, in float32, float16 and int8",
    "anylabeling": "a zip that AnyLabeling and X-AnyLabeling load as a custom model",
}
"""Where a model can go."""

GRAPHS: tuple[Target, ...] = ("onnx", "openvino", "executorch")
"""Targets with a runtime of their own, which samlet can run in the model's place."""

BUNDLES: tuple[Target, ...] = ("transformers.js", "anylabeling")
"""Targets that are files for one program; see `samlet.export.bundles`."""

Layout = Literal["samlet", "segment-anything"]

Precision = Literal["float32", "float16", "bfloat16", "int8"]
LEAST_AGREEMENT: dict[Precision, float] = {"float32": 0.99, "float16": 0.99, "bfloat16": 0.97, "int8": 0.90}
"""Mask IoU with the source model that an export of that precision must reach."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How to export.

    Attributes:
        to: see `TARGETS`.
        precision: what the graphs compute in; ONNX holds no `bfloat16`, which OpenVINO chooses when it loads a model.
        image_size: side of the encoder's input, pixels, for targets and encoders of fixed sizes; the model's own if
            None.
        prompts: at once, for targets of fixed sizes.
        points: clicks and corners a prompt, for targets of fixed sizes.
        full_masks: the decoder also answers masks at the photograph's size (ONNX and OpenVINO).
        least_agreement: mask IoU with the source model below which nothing is written; see `LEAST_AGREEMENT` if None.
        layout: `segment-anything` for a decoder of its own names and layout beside samlet's, `segment_anything.onnx`.
        photographs: to compare on.
        force: write even what the gate refuses, and mark the folder.
        seed: of photographs and prompts.

    Raises:
        InputError: settings that do not fit each other.
    """

    to: Target
    precision: Precision = "float32"
    image_size: int | None = None
    prompts: int = 16
    points: int = 4
    full_masks: bool = False
    least_agreement: float | None = None
    layout: Layout = "samlet"
    photographs: int = 4
    force: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.to not in get_args(Target):
            raise InputError(f"target {self.to!r} is unknown; expected one of {', '.join(TARGETS)}")
        if self.precision not in get_args(Precision):
            raise InputError(f"precision {self.precision!r} is unknown; expected one of {', '.join(LEAST_AGREEMENT)}")
        if self.to not in GRAPHS and self.precision != "float32":
            raise InputError(f"{self.to} is written in float32; {self.precision} needs one of {', '.join(GRAPHS)}")
        if self.precision == "bfloat16" and self.to != "openvino":
            raise InputError(f"bfloat16 is for openvino alone, and the target is {self.to}; use float16, or openvino")
        if self.precision == "float16" and self.to == "executorch":
            raise InputError("XNNPACK's float16 is not exported; use int8 or float32 for executorch")
        if self.full_masks and self.to not in ("onnx", "openvino"):
            raise InputError(f"full-size masks are for onnx and openvino; the target is {self.to}")
        if self.layout not in get_args(Layout):
            raise InputError(f"layout {self.layout!r} is unknown; expected one of {', '.join(get_args(Layout))}")
        if self.layout != "samlet" and (self.to, self.precision) != ("onnx", "float32"):
            raise InputError(
                f"layout {self.layout} is for onnx in float32; the target is {self.to} in {self.precision}"
            )
        for name in ("prompts", "points", "photographs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.least_agreement is not None and not 0 <= self.least_agreement <= 1:
            raise InputError(f"least agreement is {self.least_agreement}; expected 0 to 1")

    @property
    def limit(self) -> float:
        """Mask IoU that must be reached."""
        return LEAST_AGREEMENT[self.precision] if self.least_agreement is None else self.least_agreement
