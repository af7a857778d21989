"""Settings of an export."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Literal

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError
from samlet.export.targets import TARGETS, Target, holding
from samlet.precisions import Precision
from samlet.settings import MOST_SEED, check_settings, documented, setting

DeviceName = Literal["this", "other"]
DEVICES: dict[DeviceName, str] = {
    "this": "on a machine like this one: int8 must be faster than float32 here",
    "other": "on another machine: nothing is timed here; size and masks must still be right",
}
"""Where an export is going to run."""

Layout = Literal["samlet", "segment-anything"]
LAYOUTS: dict[Layout, str] = {
    "samlet": "encoder.onnx and decoder.onnx",
    "segment-anything": "beside them segment_anything.onnx, a decoder with the names and the layout of "
    "segment-anything's own exporter, which programs written for its files take",
}
"""How the decoder's inputs are called."""

LEAST_AGREEMENT: dict[Precision, float] = {"float32": 0.99, "float16": 0.99, "bfloat16": 0.97, "int8": 0.90}
"""Mask IoU with the source model that an export of that precision must reach."""


@documented
@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How to export; settings that do not fit each other raise InputError."""

    to: str = setting(MISSING, "the target", choices={name: target.help for name, target in TARGETS.items()}, option="")
    precision: Precision = setting(
        "float32",
        "what the graphs compute in; ONNX holds no bfloat16, which OpenVINO chooses when it loads a model",
        option="",
    )
    image_size: int | None = setting(
        None,
        "side of the encoder's input, pixels, for targets and encoders of fixed sizes; the model's own if not given",
        least=IMAGE_SIZE.least,
        most=IMAGE_SIZE.most,
    )
    full_masks: bool = setting(
        False, "the decoder also answers masks at the photograph's size, which is one input more (onnx, openvino)"
    )
    layout: Layout = setting("samlet", "what the decoder's inputs are called (onnx)", choices=LAYOUTS)
    least_agreement: float | None = setting(
        None,
        "mask IoU with the source model to reach; 0.99 for float32 and float16, 0.97 for bfloat16, 0.90 for int8",
        least=0,
        most=1,
        group="gate",
    )
    for_device: DeviceName = setting("this", "where the export is going to run", choices=DEVICES, group="gate")
    force: bool = setting(False, "write what is refused, and mark the folder", group="gate")
    prompts: int = setting(16, "answered at once", least=1, most=4096, group="fixed sizes (executorch)")
    points: int = setting(4, "clicks and corners of a prompt", least=1, most=1024, group="fixed sizes (executorch)")
    photographs: int = setting(4, "to compare on", least=1, option="")
    seed: int = setting(0, "of photographs and prompts", least=0, most=MOST_SEED, option="")

    def __post_init__(self) -> None:
        if self.to not in TARGETS:
            raise InputError(f"target {self.to!r} is unknown; expected one of {', '.join(TARGETS)}")
        if self.precision not in LEAST_AGREEMENT:
            raise InputError(f"precision {self.precision!r} is unknown; expected one of {', '.join(LEAST_AGREEMENT)}")
        check_settings(self)
        if self.precision not in self.target.precisions:
            held, others = (", ".join(names) for names in (self.target.precisions, holding(self.precision)))
            raise InputError(f"{self.to} is written in {held}; {self.precision} needs {others.replace(', ', ' or ')}")
        if self.full_masks and not self.target.full_masks:
            able = " and ".join(name for name, target in TARGETS.items() if target.full_masks)
            raise InputError(f"full-size masks are for {able}; the target is {self.to}")
        if self.layout != "samlet" and (self.to, self.precision) != ("onnx", "float32"):
            raise InputError(
                f"layout {self.layout} is for onnx in float32; the target is {self.to} in {self.precision}"
            )

    @property
    def target(self) -> Target:
        """What is known of the target."""
        return TARGETS[self.to]

    @property
    def limit(self) -> float:
        """Mask IoU that must be reached."""
        return LEAST_AGREEMENT[self.precision] if self.least_agreement is None else self.least_agreement
