"""Predicted IoU and stability of a student on its teacher's scale.

Training on the masks of people moves both: what a person marks for a click is less certain than what a SAM answers, so
a student predicts less, and its logits rise more slowly at the edge of a mask. Thresholds of everything mode and of
annotation tools are made for the teacher's values. So the last layers of the two heads are scaled: predicted IoU by a
positive factor and an offset, all mask logits by one factor (temperature scaling: Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017). No mask changes, and no mask overtakes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samlet.data.images import RGBImage
from samlet.distillation.examples import Preparation
from samlet.errors import InputError
from samlet.io.progress import progress_bar
from samlet.models import Sam

_POINTS = 8  # on a side of the grid of clicks
_FACTORS = np.geomspace(0.1, 10, 41)  # of the logits, among which stability is matched
_SHARES = np.linspace(0.05, 0.95, 91)  # quantiles of predicted IoU that are matched


@dataclass(frozen=True)
class Calibration:
    """What was scaled.

    Attributes:
        iou_factor: of predicted IoU (of its logit, where it ends in a sigmoid).
        iou_offset: added to it.
        logit_factor: of all mask logits.
        photographs: on which teacher and student were compared.
    """

    iou_factor: float
    iou_offset: float
    logit_factor: float
    photographs: int


@dataclass(frozen=True)
class _Answers:
    """Of a grid of clicks: predicted IoU before any sigmoid (N,), and the stability of the masks (N, factors)."""

    iou: NDArray[np.float64]
    stability: NDArray[np.float64]


@torch.no_grad()
def calibrate(student: Sam, teacher: Sam, images: Sequence[RGBImage], sizes: tuple[int, int]) -> Calibration:
    """Put predicted IoU and stability of a student on its teacher's scale, in place.

    Both answer the same 8 × 8 clicks on every photograph. Predicted IoU: the line that takes the quantiles of the
    student's values to those of the teacher's. Logits: the factor at which the mean stability is the teacher's.

    Args:
        student: whose heads are scaled.
        teacher: of the same kind of decoder.
        images: photographs (H, W, 3), a few dozen.
        sizes: sides of the student's and of the teacher's input, pixels.

    Returns:
        What was scaled.

    Raises:
        InputError: no photograph, or a student whose answers are all alike.
    """
    if not images:
        raise InputError("no photograph to calibrate on; expected at least one")
    found: tuple[list[_Answers], list[_Answers]] = ([], [])
    with progress_bar("calibrating", "photograph", len(images)) as bar:
        for image in images:
            for model, size, answers in zip((student, teacher), sizes, found, strict=True):
                answers.append(_answers(model, image, size))
            bar.update()
    own, wanted = (
        _Answers(*(np.concatenate([getattr(one, name) for one in answers]) for name in ("iou", "stability")))
        for answers in found
    )
    factor, offset = _line(np.quantile(own.iou, _SHARES), np.quantile(wanted.iou, _SHARES))
    logits = _matching_factor(own.stability.mean(0), float(wanted.stability[:, len(_FACTORS) // 2].mean()))
    _scale(_last(student.mask_decoder.iou_prediction_head), factor, offset)
    for mlp in student.mask_decoder.output_hypernetworks_mlps:
        _scale(_last(mlp), logits)
    return Calibration(factor, offset, logits, len(images))


def _answers(sam: Sam, image: RGBImage, size: int) -> _Answers:
    pixels, frame = Preparation.of(sam, size)(image)
    encoded = sam.encode(pixels[None].to(sam.device))
    height, width = image.shape[:2]
    places = (np.arange(_POINTS) + 0.5) / _POINTS
    clicks = torch.tensor([[[x * width, y * height]] for y in places for x in places], dtype=torch.float32)
    points = frame.to_input(clicks).to(sam.device)
    raw: list[Tensor] = []
    hook = _last(sam.mask_decoder.iou_prediction_head).register_forward_hook(lambda _m, _i, out: raw.append(out))
    try:
        out = sam.decode(encoded, points, torch.ones_like(points[..., 0], dtype=torch.long))
    finally:
        hook.remove()
    rows, columns = (-(-side * out.low_res.shape[-1] // size) for side in frame.resized)  # without the padding
    logits = out.low_res[:, 1:, :rows, :columns] - sam.config.mask_threshold
    return _Answers(
        torch.cat(raw)[:, 1:].flatten().double().cpu().numpy(),
        np.stack([_stability(logits, 1 / factor) for factor in _FACTORS], -1),
    )


def _stability(logits: Tensor, offset: float) -> NDArray[np.float64]:
    """(P, M, h, w) to the stability score of each mask (P · M,)."""
    inner, outer = ((logits > at).flatten(2).sum(2).flatten() for at in (offset, -offset))
    return (inner / outer.clamp(min=1)).double().cpu().numpy()


def _line(own: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[float, float]:
    """Factor and offset that take one set of quantiles nearest to another."""
    spread = float(((own - own.mean()) ** 2).sum())
    if not spread > 0:
        raise InputError("the student predicts the same IoU for every mask; expected values that differ, to calibrate")
    factor = float(((own - own.mean()) * (wanted - wanted.mean())).sum()) / spread
    return factor, float(wanted.mean() - factor * own.mean())


def _matching_factor(stability: NDArray[np.float64], wanted: float) -> float:
    """The factor of the logits at which the mean stability, which grows with it, is the one that is wanted."""
    return float(np.exp(np.interp(wanted, np.maximum.accumulate(stability), np.log(_FACTORS))))


def _last(mlp: nn.Module) -> nn.Linear:
    layer = mlp.layers[-1]  # type: ignore[index]
    if not isinstance(layer, nn.Linear):
        raise InputError(f"the last layer of a head is {type(layer).__name__}; expected Linear to calibrate it")
    return layer


def _scale(layer: nn.Linear, factor: float, offset: float = 0.0) -> None:
    layer.weight.mul_(factor)
    if layer.bias is not None:
        layer.bias.mul_(factor).add_(offset)
