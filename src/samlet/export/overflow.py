"""Whether a model's activations fit into 16 bits.

The residual streams of this family can grow beyond 65504, the largest number of float16: then a mask is all NaN, far
from the layer that is to blame. bfloat16 has float32's range and loses digits only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samlet.data.transforms import preprocess
from samlet.errors import SamletError
from samlet.export.probes import Probe
from samlet.models import Sam

LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Largest:
    """The largest absolute value that a layer puts out."""

    layer: str
    value: float


def largest_outputs(model: nn.Module, run: Callable[[], Any]) -> list[Largest]:
    """What every layer of a model puts out at most while `run` uses it, in the order of first use."""
    found: dict[str, float] = {}

    def watch(name: str) -> Callable[..., None]:
        def look(_: nn.Module, __: Any, out: Any) -> None:
            for value in out if isinstance(out, tuple) else (out,):
                if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
                    # A NaN must not lose against a number.
                    largest = float(value.detach().abs().float().nan_to_num(math.inf).amax())
                    found[name] = max(found.get(name, 0.0), largest)

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [Largest(layer, value) for layer, value in found.items()]


def check_range(model: nn.Module, run: Callable[[], Any]) -> Largest:
    """The largest output of all layers while `run` uses a float32 model.

    Raises:
        SamletError: one does not fit into float16; the message names the first such layer.
    """
    outputs = largest_outputs(model, run)
    for entry in outputs:
        if entry.value > LARGEST:
            raise SamletError(
                f"{entry.layer} reaches {entry.value:.3g}, and float16 ends at {LARGEST:g}: the masks would be NaN. "
                "Export float32, or bfloat16 for openvino, which has the range"
            )
    return max(outputs, key=lambda entry: entry.value)


def check_float16(sam: Sam, asked: Sequence[Probe], size: int | None) -> None:
    """Run a model on photographs with prompts, and look whether all of it fits into float16.

    Raises:
        SamletError: see `check_range`.
    """
    side = sam.check_image_size(size)

    def run() -> None:
        for question in asked:
            pixels, frame = preprocess(question.image, side, *sam.preprocessing)
            with torch.inference_mode():
                found = sam.encode(pixels[None])
                points = frame.to_input(torch.from_numpy(question.points))[:, None]
                sam.decode(found, points, torch.ones(points.shape[:2], dtype=torch.long))

    check_range(sam, run)
