"""Finding the steps of a layer's weights and of its inputs (TinySAM, section 3.3).

The steps of the weights, one an output channel, and the step of the inputs take turns: of all candidates the one of the
least weighted squared error of the layer's outputs stays. The errors of output channels do not depend on each other's
steps, so all channels are searched at once.

Shape legend: G groups, N samples, K factors, O outputs (see `matrices`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samlet.models.quantized import InputQuantizer, to_grid
from samlet.quantization.config import FLOAT_BITS, QuantConfig
from samlet.quantization.matrices import Layer, largest_of_channels, steps_of_rows, weight_matrix
from samlet.quantization.quantizers import InputRange, input_range, percentiles
from samlet.quantization.samples import MatrixSample, Seen

_PARTS = 8  # at least so many parts of the samples; most bad candidates are known after the first
_PART_ELEMENTS = 1 << 20  # values of a part, so that it stays in a CPU's cache
_SMALLEST_PART = 16
_FLOOR, _NOTHING = 1e-2, 1e-20

Entry = dict[str, int | None]
"""Bits by factor, as `checkpoints.quantization` writes them: None for a factor that stays float."""


@dataclass(frozen=True)
class Found:
    """How one site is quantized.

    Attributes:
        entry: bits of its factors.
        tensors: steps, by the names that they have below the site's in a state dict.
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
        self.x, self.metric = sample.x, ErrorMetric([sample.gradient])
        self.gradient, self.curvature = sample.gradient, self.metric.curvature(sample.gradient)
        self.target = torch.bmm(self.x, self.matrix.transpose(1, 2))
        self.range: InputRange | None = None
        if self.input_bits is not None:
            low, high = percentiles(self.x) if config.metric == "percentile" else sample.seen.ranges[0]
            self.range = input_range(low, high, self.input_bits, config.scheme)
        self.base = torch.ones(0)
        if self.weight_bits is not None:
            largest = largest_of_channels(layer).float().cpu()
            self.base = torch.where(largest > 0, largest, torch.ones_like(largest)) / 2 ** (self.weight_bits - 1)
        groups, count, width = self.x.shape
        together = _PART_ELEMENTS // (groups * max(width, self.matrix.shape[1]))
        together = max(_SMALLEST_PART, min(together, math.ceil(count / _PARTS)))
        self.parts = [slice(start, start + together) for start in range(0, count, together)]

    def run(self) -> Found:
        steps, factors = self.base, (1.0, 1.0)
        for _ in range(self.config.rounds if self.config.searches else 0):
            before = steps, factors
            if self.weight_bits is not None:
                steps = self.best_steps(self.quantized_inputs(factors))
            if self.range is not None:
                factors = self.best_factors(self.rounded(steps), factors)
            if torch.equal(before[0], steps) and before[1] == factors:
                break
        return self.describe(steps, factors)

    def rounded(self, steps: Tensor) -> Tensor:
        """The weight's matrix on a grid of these steps (out,)."""
        if self.weight_bits is None:
            return self.matrix
        levels = self.config.weight_levels(self.weight_bits)
        return to_grid(self.matrix, steps_of_rows(self.layer, steps), *levels)

    def quantizer(self, factors: tuple[float, float]) -> InputQuantizer | None:
        return None if self.range is None else self.range.quantizer(factors)

    def quantized_inputs(self, factors: tuple[float, float]) -> Tensor:
        quantizer = self.quantizer(factors)
        return self.x if quantizer is None else quantizer(self.x)

    def best_steps(self, x: Tensor) -> Tensor:
        """For each output channel the candidate of least error, for inputs (G, N, K); of equals the largest."""
        best, least = self.base, torch.full_like(self.base, torch.inf)
        for factor in reversed(candidates(self.config)):
            steps = self.base * factor
            errors = self._channel_errors(x, self.rounded(steps), least)
            better = errors < least
            best, least = torch.where(better, steps, best), torch.where(better, errors, least)
        return best

    def _channel_errors(self, x: Tensor, weight: Tensor, least: Tensor) -> Tensor:
        """Errors by channel (out,); of channels that some samples show to be no better than `least`, less than all."""
        count, repeats = len(least), weight.shape[0] * weight.shape[1] // len(least)
        errors, left, rows = torch.zeros_like(least), torch.arange(count), None
        for part in self.parts:
            errors.index_add_(0, left, self._errors(x[:, part], weight, part, rows).view(-1, repeats).sum(1))
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

    def _errors(self, x: Tensor, weight: Tensor, part: slice, rows: Tensor | None = None) -> Tensor:
        """Weighted squared errors of some samples' outputs, (G · O,).

        Args:
            x: (G, n, K) inputs of these samples.
            weight: (G, O, K), or of some rows.
            part: which samples.
            rows: which rows the weight has; None for all.
        """
        target, curvature = self.target[:, part], None if self.curvature is None else self.curvature[:, part]
        if rows is not None:
            target, curvature = target[..., rows], None if curvature is None else curvature[..., rows]
        difference = torch.baddbmm(target, x, weight.transpose(1, 2), beta=-1).square_()
        if curvature is not None:
            difference.mul_(curvature)
        return difference.sum(1).flatten()

    def describe(self, steps: Tensor, factors: tuple[float, float]) -> Found:
        quantizer = self.quantizer(factors)
        tensors = {} if self.weight_bits is None else {"weight_scale": steps}
        if quantizer is not None:
            tensors |= {f"inputs.{name}": value for name, value in quantizer.state_dict().items()}
        out = torch.bmm(self.quantized_inputs(factors), self.rounded(steps).transpose(1, 2))
        measured = Measured(self.metric)
        found, target = (tensor.transpose(0, 1).flatten(1) for tensor in (out, self.target))
        gradient = None if self.gradient is None else self.gradient.transpose(0, 1).flatten(1)
        measured.add(found, target, gradient)
        return measured.found({"weights": self.weight_bits, "inputs": self.input_bits}, tensors, self.seen)


class ErrorMetric:
    """The weight of errors of a layer's outputs.

    A draw g of the gradient (see `calibration`) makes (g · e)² a draw of what an error e does to the loss. Taken over
    all outputs of one position, as for the steps of inputs, it counts how the errors of channels add up: an input that
    is cut off moves all of them at once, and the masks mind that more than they mind noise. The steps of weights are
    found for each channel apart, so there it is g² e², the diagonal.

    A hundredth of the mean square of g is added to every weight, so that no output counts for nothing by bad luck.

    Args:
        gradients: all draws; None where every error weighs 1.
    """

    def __init__(self, gradients: Sequence[Tensor | None]) -> None:
        known = [gradient for gradient in gradients if gradient is not None]
        squares = sum(float(gradient.square().sum(dtype=torch.float64)) for gradient in known)
        self.floor = max(_FLOOR * squares / max(1, sum(gradient.numel() for gradient in known)), _NOTHING)

    def curvature(self, gradient: Tensor | None) -> Tensor | None:
        """Weights of squared errors, of the gradient's shape."""
        return None if gradient is None else gradient.square() + self.floor

    def of_rows(self, errors: Tensor, gradient: Tensor | None) -> float:
        """The loss of errors (..., channels) of some positions."""
        if gradient is None:
            return float(errors.square().sum())
        return float((errors * gradient).sum(-1).square().sum() + self.floor * errors.square().sum())


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
