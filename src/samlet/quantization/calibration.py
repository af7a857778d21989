"""What calibration asks a model about a photograph: prompts without labels, and the curvature of the loss.

TinySAM (section 3.3, eq. 11) weights errors by the curvature of KL(masks) + KL(predicted IoUs) between the float and
the quantized model, and its code takes the squared gradient of that loss for it. Where calibration stands, at the float
model, both divergences are at their least value, 0, so that gradient is zero. The curvature is not: it is the Fisher
information. A pixel of logit z contributes p (1 - p), p = sigmoid(z), a predicted IoU u contributes 1 / (u (1 - u)).
With J the derivative of those answers by the output of a layer and d their curvature, the layer's is H = Jᵀ diag(d) J.
One backward pass with random signs r gives g = Jᵀ (r · √d) for all layers at once, and the mean of g gᵀ over the signs
is H (Hutchinson's estimate): (g · e)² is a draw of what errors e of the layer's outputs do to the loss, and g² one of
the diagonal of H.

Shape legend: B prompts of a call, M masks, h, w mask grid.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from samlet.data.transforms import Frame
from samlet.models import Embedding, Sam, maps_of, single_masks, trained_outputs
from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.models.modes import whole_layers
from samlet.quantization.config import QuantConfig
from samlet.quantization.recorder import Recorder
from samlet.quantization.sites import Site

_PROMPTS_AT_ONCE = 4
_MASK_PROMPTS = 4
_LEAST_IOU = 1e-3
_SMALLEST_BOX = 1 / 64  # of the input's side, where the model answers nothing

Call = dict[str, Tensor | None]
"""Prompts asked together: the arguments of `Sam.decode`."""


class Calibrator:
    """A model under observation.

    Args:
        sam: the model; a copy of it is observed.
        sites: the layers to observe.
        config: settings.
    """

    def __init__(self, sam: Sam, sites: Sequence[Site], config: QuantConfig) -> None:
        self.config = config
        self.sites = sites
        self.sam = copy.deepcopy(sam).eval().requires_grad_(False)
        self._modules = {site.name: self.sam.get_submodule(site.name) for site in sites}
        encoder = self.sam.image_encoder
        for name in encoder.embedding_features():
            encoder.set_submodule(name, _Block(encoder.get_submodule(name)))

    def record(self, pixels: Tensor, frame: Frame, number: int) -> dict[str, Tensor]:
        """Samples of all layers for one photograph.

        Args:
            pixels: (3, S, S) normalised.
            frame: the photograph's place in it.
            number: of the photograph.

        Returns:
            What `Recorder` keeps; see there.
        """
        sam, config = self.sam, self.config
        recorder = Recorder(self._modules, self.sites, config.samples, config.seed, number)
        try:
            with torch.enable_grad(), whole_layers():
                self._observe(recorder, pixels[None].to(sam.device, sam.dtype), frame, number)
        finally:
            tensors = recorder.close()
        return tensors

    def _observe(self, recorder: Recorder, image: Tensor, frame: Frame, number: int) -> None:
        sam, wants_curvature = self.sam, self.config.metric == "hessian"
        recorder.start(inputs=True, gradients=False)
        embedding = sam.encode(image).requires_grad_(wants_curvature)
        recorder.pause()
        calls = prompt_calls(sam, embedding, frame, self.config.prompts)
        prompts = sum(_count(call) for call in calls)
        recorder.calls, recorder.prompts = len(calls), prompts
        recorder.start(inputs=True, gradients=wants_curvature)
        generator = torch.Generator().manual_seed(1000 * self.config.seed + number)
        for call in calls:
            out = sam.decode(embedding, **call)
            if wants_curvature:
                fisher_probe(sam, out, frame, prompts, generator).backward()
        if wants_curvature:
            recorder.start(inputs=False, gradients=True)
            again = sam.encode(image.requires_grad_())
            recorder.pause()
            torch.autograd.backward(maps_of(again), [m.grad for m in maps_of(embedding)])


class _Block(nn.Module):
    """A block that keeps only its input for the backward pass, which computes it again."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return checkpoint(self.block, x, use_reentrant=False, preserve_rng_state=False)
        return self.block(x)


def fisher_probe(sam: Sam, out: DecoderOutput, frame: Frame, prompts: int, generator: torch.Generator) -> Tensor:
    """A number whose squared gradient is one draw of the curvature's diagonal; see the module's text.

    The loss is the mean over prompts of the mean divergence of the masks' pixels on the photograph and of the IoUs.

    Args:
        sam: the model.
        out: answers (B, M, h, w) and (B, M), with gradients.
        frame: the photograph's place in the input.
        prompts: of all calls for this photograph.
        generator: of the signs.
    """
    out = trained_outputs(sam, out)
    logits = _on_photograph(out, frame)
    chance = logits.detach().sigmoid()
    weight = (chance * (1 - chance) / (chance[0].numel() * prompts)).sqrt()
    total = (_signs(logits, generator) * weight * logits).sum()
    if sam.config.score == "iou":
        iou = out.iou
        sure = iou.detach().clamp(_LEAST_IOU, 1 - _LEAST_IOU)
        weight = (1 / (sure * (1 - sure) * iou.shape[1] * prompts)).sqrt()
        total = total + (_signs(iou, generator) * weight * iou).sum()
    return total


@torch.no_grad()
def divergence(sam: Sam, exact: DecoderOutput, out: DecoderOutput, frame: Frame) -> Tensor:
    """The loss whose curvature `fisher_probe` draws: KL(masks) + KL(predicted IoUs) of each prompt (TinySAM, eq. 11).

    Args:
        sam: the float model.
        exact: its answers (B, M, h, w) and (B, M).
        out: those of the quantized model to the same prompts.
        frame: the photograph's place in the input.

    Returns:
        (B,) nats; the mean over masks, of their pixels on the photograph and of the IoUs.
    """
    exact, out = trained_outputs(sam, exact), trained_outputs(sam, out)
    chance = _on_photograph(exact, frame).sigmoid()
    crossed = F.binary_cross_entropy_with_logits(_on_photograph(out, frame), chance, reduction="none")
    total = (crossed - F.binary_cross_entropy(chance, chance, reduction="none")).mean((1, 2, 3))
    if sam.config.score == "iou":
        sure, other = (iou.clamp(_LEAST_IOU, 1 - _LEAST_IOU) for iou in (exact.iou, out.iou))
        crossed = F.binary_cross_entropy(other, sure, reduction="none")
        total = total + (crossed - F.binary_cross_entropy(sure, sure, reduction="none")).mean(1)
    return total


def _on_photograph(out: DecoderOutput, frame: Frame) -> Tensor:
    """Logits (B, M, height, width) without the padding of the input."""
    height, width = (math.ceil(side / frame.image_size * out.low_res.shape[-1]) for side in frame.resized)
    return out.low_res[..., :height, :width]


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, like.shape, generator=generator).to(like) * 2 - 1


@torch.no_grad()
def prompt_calls(sam: Sam, embedding: Embedding, frame: Frame, count: int) -> list[Call]:
    """Prompts for one photograph: points of a grid, boxes around the model's answers to them, a few mask prompts.

    Boxes are around the single mask and around the smallest of the three by turns: small boxes drive the decoder to
    larger values than any others, and quantizers that never saw those would cut them off.

    Args:
        sam: the model.
        embedding: of the photograph.
        frame: the photograph's place in the input.
        count: of prompts; half of them, rounded up, are points. Mask prompts come on top.
    """
    points = _grid(frame, math.ceil(count / 2)).to(maps_of(embedding)[0])
    labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
    asked = list(zip(*_parts(points, labels), strict=True))
    answers = [_single_and_smallest(sam, sam.decode(embedding, p, q)) for p, q in asked]
    single, smallest = (torch.cat(parts) for parts in zip(*answers, strict=True))
    interleaved = torch.where(
        (torch.arange(len(points), device=points.device) % 2 == 0)[:, None, None], smallest, single
    )
    boxes = _boxes(interleaved > sam.config.mask_threshold, points[:, 0], frame)[: count // 2]
    calls: list[Call] = [{"points": p, "labels": q} for p, q in asked]
    calls += [{"boxes": part} for part in boxes.split(_PROMPTS_AT_ONCE)]
    if DECODERS[sam.config.decoder.style].takes_masks:
        few = slice(0, _MASK_PROMPTS)
        calls.append({"points": points[few], "labels": labels[few], "masks": single[few, None]})
    return calls


def _grid(frame: Frame, count: int) -> Tensor:
    """Points (count, 1, 2) spread over the photograph, in pixels of the input."""
    height, width = frame.resized
    rows = max(1, round(math.sqrt(count * height / width)))
    points = []
    for row in range(rows):
        columns = count * (row + 1) // rows - count * row // rows
        points += [((column + 0.5) / columns * width, (row + 0.5) / rows * height) for column in range(columns)]
    return torch.tensor(points)[:, None]


def _parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [tensor.split(_PROMPTS_AT_ONCE) for tensor in tensors]


def _single_and_smallest(sam: Sam, out: DecoderOutput) -> tuple[Tensor, Tensor]:
    """Logits (B, h, w) of the single mask, or the best of the three where a model has none, and of the smallest."""
    three, each = out.low_res[:, 1:], torch.arange(len(out.iou), device=out.iou.device)
    areas = (three > sam.config.mask_threshold).sum((2, 3))
    return single_masks(sam, out.low_res, out.iou)[0], three[each, areas.argmin(dim=1)]


def _boxes(masks: Tensor, points: Tensor, frame: Frame) -> Tensor:
    """Boxes (B, 4) around masks (B, h, w), in pixels of the input; around the point (B, 2) where a mask is empty."""
    cell = frame.image_size / masks.shape[-1]
    height, width = frame.resized
    boxes = []
    for mask, (x, y) in zip(masks, points.tolist(), strict=True):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        if len(rows):
            edges = [columns[0] * cell, rows[0] * cell, (columns[-1] + 1) * cell, (rows[-1] + 1) * cell]
            box = [float(edge) for edge in edges]
        else:
            side = frame.image_size * _SMALLEST_BOX
            box = [x - side, y - side, x + side, y + side]
        boxes.append([min(max(v, 0.0), float(limit)) for v, limit in zip(box, (width, height) * 2, strict=True)])
    return torch.tensor(boxes).to(points)


def _count(call: dict[str, Any]) -> int:
    return len(next(value for value in call.values() if value is not None))
