"""Finding the scales of a layer's weights and of its inputs (TinySAM, section 3.3).

The scales of the weights, one an output channel, and the scale of the inputs take turns: of all candidates the one of
the least weighted squared error of the layer's outputs stays. The errors of output channels do not depend on each
other's scales, so all channels are searched at once. Where chunks of input channels have scales of their own, they
follow one another, each chosen for what the others leave: so a later chunk makes good what an earlier one errs.

Shape legend: G groups, N samples, K factors, O outputs (see `matrices`).

One module, though long: the search and the error that it minimises are written in the same shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from samlet.models.quantized import InputQuantizer, fake_quantize
from samlet.quantization.config import FLOAT_BITS, QuantConfig
from samlet.quantization.linear_algebra import Layer, chunks, largest_of_channels, scales_of_rows, weight_matrix
from samlet.quantization.quantizers import InputRange, input_range, percentiles
from samlet.quantization.samples import MatrixSample, Seen

_PARTS = 8  # at least so many parts of the samples; most bad candidates are known after the first
_PART_ELEMENTS = 1 << 20  # values of a part, so that it stays in a CPU's cache
_SMALLEST_PART = 16
_FLOOR, _NOTHING = 1e-2, 1e-20
_LONGEST = 3.0

Entry = dict[str, int | None]
"""Bits by factor, as `checkpoints.quantization` writes them: None for a factor that stays float."""


@dataclass(frozen=True)
class Found:
    """How one site is quantized.

    Attributes:
        entry: bits of its factors.
        tensors: scales, by the names that they have below the site's in a state dict.
        error: weighted squared error of its outputs over the weighted square of the outputs themselves, both without
            bias.
        sqnr: signal over quantization noise of its outputs, unweighted, in dB.
        loss: what it adds to the divergence of a photograph's masks and IoUs, to second order, if that was the metric.
        macs: multiply-accumulates of a photograph.
    """

    entry: Entry
    tensors: dict[str, Tensor]
    error: float
    sqnr: float
    loss: float
    macs: float


def search_layer(layer: Layer, sample: MatrixSample, widths: tuple[int, int], config: QuantConfig) -> Found:
    """Steps for a linear layer or convolution.

    Args:
        layer: the float layer.
        sample: of its inputs.
        widths: bits of weights and inputs; 16 leaves them float.
        config: settings.
    """
    return _LayerSearch(layer, sample, widths, config).run()


class _LayerSearch:
    def __init__(self, layer: Layer, sample: MatrixSample, widths: tuple[int, int], config: QuantConfig) -> None:
        self.layer, self.config, self.seen = layer, config, sample.seen
        self.weight_bits, self.input_bits = (None if bits == FLOAT_BITS else bits for bits in widths)
        self.matrix = weight_matrix(layer).float().cpu()
        self.x, self.exact_gradient = sample.x, sample.gradient
        (self.gradient,) = clipped([sample.gradient], (0, 2), config)
        self.metric = ErrorMetric([self.gradient], config.shrinkage)
        self.curvature = self.metric.curvature(self.gradient)
        self.target = torch.bmm(self.x, self.matrix.transpose(1, 2))
        self.range: InputRange | None = None
        if self.input_bits is not None:
            low, high = percentiles(self.x) if config.metric == "percentile" else sample.seen.ranges[0]
            self.range = input_range(low, high, self.input_bits, config.scheme)
        self.base, self.group = torch.ones(0), None
        if self.weight_bits is not None:
            self.group = config.weight_group
            self.chunks = chunks(layer, self.group)
            self.group = self.group if len(self.chunks) > 1 else None
            largest = largest_of_channels(layer, self.group).float().cpu()
            self.base = torch.where(largest > 0, largest, torch.ones_like(largest)) / 2 ** (self.weight_bits - 1)
        groups, count, width = self.x.shape
        together = _PART_ELEMENTS // (groups * max(width, self.matrix.shape[1]))
        together = max(_SMALLEST_PART, min(together, math.ceil(count / _PARTS)))
        self.parts = [slice(start, start + together) for start in range(0, count, together)]

    def run(self) -> Found:
        scales, factors = self.base, (1.0, 1.0)
        for _ in range(self.config.rounds if self.config.searches else 0):
            before = scales, factors
            if self.weight_bits is not None:
                x = self.quantized_inputs(factors)
                scales = self.best_scales(x) if self.group is None else self.best_steps_of_chunks(x, scales)
            if self.range is not None:
                factors = self.best_factors(self.rounded(scales), factors)
            if torch.equal(before[0], scales) and before[1] == factors:
                break
        return self.describe(scales, factors)

    def rounded(self, scales: Tensor) -> Tensor:
        """The weight's matrix on a grid of these scales, (out,) or (out, C)."""
        if self.weight_bits is None:
            return self.matrix
        levels = self.config.weight_levels(self.weight_bits)
        return fake_quantize(self.matrix, scales_of_rows(self.layer, scales, self.group), *levels)

    def quantizer(self, factors: tuple[float, float]) -> InputQuantizer | None:
        return None if self.range is None else self.range.quantizer(factors)

    def quantized_inputs(self, factors: tuple[float, float]) -> Tensor:
        quantizer = self.quantizer(factors)
        return self.x if quantizer is None else quantizer(self.x)

    def best_scales(self, x: Tensor) -> Tensor:
        """For each output channel the candidate of least error, for inputs (G, N, K); of equals the largest."""
        return self._best(self.base, x, self.rounded, self.target)

    def best_steps_of_chunks(self, x: Tensor, scales: Tensor) -> Tensor:
        """The same for scales (out, C), chunk by chunk, from scales that are there."""
        best = scales.clone()
        weight = self.rounded(scales)
        missing = self.target - torch.bmm(x, weight.transpose(1, 2))
        for chunk, columns in enumerate(self.chunks):
            part = x[..., columns].contiguous()
            missing += torch.bmm(part, weight[..., columns].transpose(1, 2))

            rounded = partial(self._rounded_chunk, columns)
            best[:, chunk] = self._best(self.base[:, chunk], part, rounded, missing)
            missing -= torch.bmm(part, rounded(best[:, chunk]).transpose(1, 2))
        return best

    def _rounded_chunk(self, columns: slice, scales: Tensor) -> Tensor:
        """The columns (G, O, k) of one chunk on a grid of scales (out,)."""
        assert self.weight_bits is not None
        levels = self.config.weight_levels(self.weight_bits)
        return fake_quantize(self.matrix[..., columns], scales_of_rows(self.layer, scales), *levels)

    def _best(self, base: Tensor, x: Tensor, rounded: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
        """For each output channel the candidate of least error; of equals the largest.

        Args:
            base: (out,) scales that cover the largest values.
            x: (G, N, K) inputs.
            rounded: weights (G, O, K) for scales (out,).
            target: (G, N, O) what their product should be.
        """
        best, least = base, torch.full_like(base, torch.inf)
        for factor in reversed(candidates(self.config)):
            scales = base * factor
            errors = self._channel_errors(x, rounded(scales), least, target)
            better = errors < least
            best, least = torch.where(better, scales, best), torch.where(better, errors, least)
        return best

    def _channel_errors(self, x: Tensor, weight: Tensor, least: Tensor, target: Tensor) -> Tensor:
        """Errors by channel (out,); of channels that some samples show to be no better than `least`, less than all."""
        count, repeats = len(least), weight.shape[0] * weight.shape[1] // len(least)
        errors, left, rows = torch.zeros_like(least), torch.arange(count), None
        for part in self.parts:
            of_rows = self._errors(x[:, part], weight, target[:, part], part, rows)
            errors.index_add_(0, left, of_rows.view(-1, repeats).sum(1))
            alive = errors[left] < least[left]
            if not alive.any():
                break
            if len(weight) == 1 and 2 * int(alive.sum()) < len(left):
                weight = weight.unflatten(1, (-1, repeats))[:, alive].flatten(1, 2)
                left = left[alive]
                rows = (left[:, None] * repeats + torch.arange(repeats)).flatten()
        return errors

    def best_factors(self, weight: Tensor, factors: tuple[float, float]) -> tuple[float, float]:
        """The factors of the input's range of least error, for a weight's matrix (G, O, K); one after the other."""
        assert self.range is not None
        for end in self.range.ends:
            least, best = math.inf, factors
            for factor in reversed(candidates(self.config)):
                tried = (factor, factors[1]) if end == 0 else (factors[0], factor)
                error = self._whole_error(tried, weight, least)
                if error < least:
                    least, best = error, tried
            factors = best
        return factors

    def _whole_error(self, factors: tuple[float, float], weight: Tensor, least: float) -> float:
        """The error of all outputs; where some samples show it to be no better than `least`, less than all."""
        quantizer = self.quantizer(factors)
        assert quantizer is not None
        error = 0.0
        for part in self.parts:
            difference = torch.baddbmm(
                self.target[:, part], quantizer(self.x[:, part]), weight.transpose(1, 2), beta=-1
            ).transpose(0, 1)
            gradient = None if self.gradient is None else self.gradient[:, part].transpose(0, 1)
            error += self.metric.of_rows(difference.flatten(1), None if gradient is None else gradient.flatten(1))
            if error >= least:
                break
        return error

    def _errors(self, x: Tensor, weight: Tensor, target: Tensor, part: slice, rows: Tensor | None) -> Tensor:
        """Weighted squared errors of some samples' outputs, (G · O,).

        Args:
            x: (G, n, K) inputs of these samples.
            weight: (G, O, K), or of some rows.
            target: (G, n, O) what the outputs should be.
            part: which samples these are.
            rows: which rows the weight has; None for all.
        """
        curvature = None if self.curvature is None else self.curvature[:, part]
        if rows is not None:
            target, curvature = target[..., rows], None if curvature is None else curvature[..., rows]
        difference = torch.baddbmm(target, x, weight.transpose(1, 2), beta=-1).square_()
        if curvature is not None:
            difference.mul_(curvature)
        return difference.sum(1).flatten()

    def describe(self, scales: Tensor, factors: tuple[float, float]) -> Found:
        quantizer = self.quantizer(factors)
        tensors = {} if self.weight_bits is None else {"weight_scale": scales}
        if quantizer is not None:
            tensors |= {f"inputs.{name}": value for name, value in quantizer.state_dict().items()}
        out = torch.bmm(self.quantized_inputs(factors), self.rounded(scales).transpose(1, 2))
        measured = Measured(ErrorMetric([self.exact_gradient]))
        found, target = (tensor.transpose(0, 1).flatten(1) for tensor in (out, self.target))
        gradient = None if self.exact_gradient is None else self.exact_gradient.transpose(0, 1).flatten(1)
        measured.add(found, target, gradient)
        entry: Entry = {"weights": self.weight_bits, "inputs": self.input_bits}
        if self.group is not None:
            entry["group"] = self.group
        return measured.found(entry, tensors, self.seen)


class ErrorMetric:
    """The weight of errors of a layer's outputs.

    A draw g of the gradient (see `calibration`) makes (g · e)² a draw of what an error e does to the loss. Taken over
    all outputs of one position, as for the scales of inputs, it counts how the errors of channels add up: an input that
    is cut off moves all of them at once, and the masks mind that more than they mind noise. The scales of weights are
    found for each channel apart, so there it is g² e², the diagonal.

    A share of the mean square of g is added to every weight, so that no output counts for nothing by bad luck: a
    hundredth where a loss is told, `QuantConfig.shrinkage` where scales are chosen (see `clipped`).

    Args:
        gradients: all draws; None where every error weighs 1.
        floor: that share, a hundredth at least.
    """

    def __init__(self, gradients: Sequence[Tensor | None], floor: float = _FLOOR) -> None:
        known = [gradient for gradient in gradients if gradient is not None]
        squares = sum(float(gradient.square().sum(dtype=torch.float64)) for gradient in known)
        self.floor = max(max(floor, _FLOOR) * squares / max(1, sum(gradient.numel() for gradient in known)), _NOTHING)

    def curvature(self, gradient: Tensor | None) -> Tensor | None:
        """Weights of squared errors, of the gradient's shape."""
        return None if gradient is None else gradient.square() + self.floor

    def of_rows(self, errors: Tensor, gradient: Tensor | None) -> float:
        """The loss of errors (..., channels) of some positions."""
        if gradient is None:
            return float(errors.square().sum())
        return float((errors * gradient).sum(-1).square().sum() + self.floor * errors.square().sum())


def clipped(gradients: Sequence[Tensor | None], axes: tuple[int, ...], config: QuantConfig) -> Sequence[Tensor | None]:
    """Draws of the gradient in which no position has more than `_LONGEST` times the usual length.

    A few positions carry most of the curvature: the one or two thousand draws of a layer tell as much as some tens or
    hundreds of equal ones would. Steps of least loss on those fit them, and keep less of the gain on other photographs
    (`benchmarks/quantization.py metrics`). Shorter draws and an even share for every output (`ErrorMetric`) keep what
    the rest says.

    Args:
        gradients: of one layer.
        axes: that the outputs of one position are on.
        config: settings; without shrinkage nothing is clipped.
    """
    if not config.shrinkage:
        return gradients
    known = [gradient for gradient in gradients if gradient is not None]
    squares = [gradient.square().sum(axes, keepdim=True) for gradient in known]
    positions = sum(square.numel() for square in squares)
    mean = sum(float(square.sum(dtype=torch.float64)) for square in squares) / max(1, positions)
    longest = _LONGEST * math.sqrt(mean)

    def shorter(gradient: Tensor) -> Tensor:
        length = gradient.square().sum(axes, keepdim=True).sqrt()
        return gradient * (longest / length.clamp(min=longest)).nan_to_num(1.0)

    return [None if gradient is None else shorter(gradient) for gradient in gradients]


class Measured:
    """Sums over outputs and their errors.

    Args:
        metric: the weight of errors.
    """

    def __init__(self, metric: ErrorMetric) -> None:
        self.metric = metric
        self.loss = self.error = self.signal = self.plain_error = self.plain_signal = 0.0

    def add(
        self,
        out: Tensor,
        target: Tensor,
        gradient: Tensor | None,
        loss: Callable[[Tensor], float] | None = None,
    ) -> None:
        """Add outputs (..., channels), what they should be, the gradient there, and how errors make a loss."""
        error, signal = (out - target).square().double(), target.square().double()
        curvature = self.metric.curvature(gradient)
        weight = 1.0 if curvature is None else curvature.double()
        self.loss += self.metric.of_rows(out - target, gradient) if loss is None else loss(out - target)
        self.error += float((error * weight).sum())
        self.signal += float((signal * weight).sum())
        self.plain_error += float(error.sum())
        self.plain_signal += float(signal.sum())

    def found(self, entry: Entry, tensors: dict[str, Tensor], seen: Seen) -> Found:
        """The result of a search."""
        ratio = self.plain_signal / self.plain_error if self.plain_error else math.inf
        return Found(
            entry,
            tensors,
            error=self.error / self.signal if self.signal else 0.0,
            sqnr=10 * math.log10(ratio) if ratio else 0.0,
            loss=0.5 * self.loss * seen.share,
            macs=seen.macs,
        )


def candidates(config: QuantConfig) -> list[float]:
    """Factors of the largest value, ascending."""
    return torch.linspace(config.low, config.high, config.candidates, dtype=torch.float64).tolist()


def least(errors: Callable[[float, float], float], tried: list[float]) -> float:
    """Of some values the one whose error is least; of equals the first.

    Args:
        errors: the error of a value, or something no less than the second argument where it is no better than that.
        tried: the values.
    """
    best, lowest = tried[0], math.inf
    for value in tried:
        error = errors(value, lowest)
        if error < lowest:
            best, lowest = value, error
    return best
