"""Finding the scales of products without weights: those of attention, and the one that makes masks.

One factor at a time, the others as they were found so far: queries, keys, where the two ranges of the attention weights
meet (in scheme log how many levels they have an octave), values. What does not depend on that factor is computed once
for all its candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from samlet.models.quantized import InputQuantizer, LogQuantizer, ProbabilityQuantizer, RowQuantizer
from samlet.quantization.config import QuantConfig
from samlet.quantization.quantizers import InputRange, input_range, percentiles
from samlet.quantization.samples import AttentionSample, ProductSample, Seen
from samlet.quantization.search import ErrorMetric, Found, Measured, candidates, clipped, least

_FINEST = 16  # of the splits of attention weights that are tried: 2 ** -16
_ATTENTION = ("queries", "keys", "values")
_PRODUCT = ("left", "right")


def search_attention(samples: Sequence[AttentionSample], seen: Seen, bits: int, config: QuantConfig) -> Found:
    """Steps for the four factors of attention.

    Args:
        samples: some heads.
        seen: of the whole photographs; ranges of queries, keys and values.
        bits: of one value.
        config: settings.
    """
    return _AttentionSearch(samples, seen, bits, config).run()


def search_product(samples: Sequence[ProductSample], seen: Seen, bits: int, config: QuantConfig) -> Found:
    """Steps for both factors of a product; the second may come after GELU.

    The first is a small matrix for each prompt: the weights of each mask, made by a hypernetwork. See `RowQuantizer`.
    Its channels differ in size by a factor of 35, and where it is large the second is small; the factors that balance
    them go to one side and come back from the other, so that sums over channels are sums of integers.

    Args:
        samples: some columns.
        seen: of the whole photographs; ranges of both factors.
        bits: of one value.
        config: settings.
    """
    return _ProductSearch(samples, seen, bits, config).run()


Sample = TypeVar("Sample", AttentionSample, ProductSample)


class _Search(ABC, Generic[Sample]):
    """What both searches share: samples, ranges and the factors of those found so far."""

    names: tuple[str, ...]

    def __init__(self, samples: Sequence[Sample], seen: Seen, bits: int, config: QuantConfig) -> None:
        self.samples: Sequence[Sample] = samples
        self.seen, self.bits, self.config = seen, bits, config
        self.ranges = {name: self.range(name) for name in self.names}
        self.factors = dict.fromkeys(self.names, 1.0)
        self.targets = [self.exact(i) for i in range(len(samples))]
        self.metric = ErrorMetric([sample.gradient for sample in samples])
        self.scorers: Sequence[Sample] = samples
        self.scored_by = self.metric

    def range(self, name: str) -> InputRange:
        low, high = self.seen.ranges[self.names.index(name)]
        if self.config.metric == "percentile":
            low, high = percentiles(torch.cat([getattr(sample, name).flatten() for sample in self.samples]))
        if name == "right":
            return input_range(low, high, self.bits, "twin")
        return InputRange(min(low, 0.0), max(high, 0.0), self.bits, "symmetric")

    def quantizer(self, name: str, factor: float | None = None) -> InputQuantizer | RowQuantizer:
        """Of one factor of the product, at a tried factor of its range or the one found so far."""
        return self.ranges[name].quantizer((self.factors[name] if factor is None else factor, 1.0))

    def rounded(self, name: str, i: int, factor: float | None = None) -> Tensor:
        """One factor of a sample's product, rounded."""
        return self.quantizer(name, factor)(getattr(self.samples[i], name))

    def all_rounded(self, name: str) -> list[Tensor]:
        return [self.rounded(name, i) for i in range(len(self.samples))]

    def choose(self, name: str, answer: Callable[[int, float], Tensor]) -> None:
        """Keep the best factor of one range, where `answer` gives a sample's outputs for a factor tried."""
        tried = candidates(self.config)[::-1]
        self.factors[name] = least(lambda factor, lowest: self.error(lambda i: answer(i, factor), lowest), tried)

    def error(self, answer: Callable[[int], Tensor], lowest: float) -> float:
        """Sum of weighted squared errors; less than all of it once it is no less than `lowest`."""
        total = 0.0
        for i in range(len(self.samples)):
            total += self.loss(answer(i) - self.targets[i], self.scorers[i], self.scored_by)
            if total >= lowest:
                break
        return total

    def run(self) -> Found:
        for _ in range(self.config.rounds if self.config.searches else 0):
            before = self.state()
            self.round()
            if self.state() == before:
                break
        measured = Measured(self.metric)
        for i, sample in enumerate(self.samples):
            measured.add(
                self.answer(i), self.targets[i], sample.gradient, partial(self.loss, sample=sample, metric=self.metric)
            )
        tensors = self.other_tensors()
        for name in self.names:
            tensors |= {f"{name}.{part}": value for part, value in self.quantizer(name).state_dict().items()}
        return measured.found(dict.fromkeys(self.entry(), self.bits), tensors, self.seen)

    def loss(self, errors: Tensor, sample: Sample, metric: ErrorMetric) -> float:
        """What errors of a sample's outputs do to the loss."""
        return metric.of_rows(errors, sample.gradient)

    def state(self) -> object:
        return tuple(self.factors.values())

    def entry(self) -> Sequence[str]:
        return self.names

    def other_tensors(self) -> dict[str, Tensor]:
        return {}

    @abstractmethod
    def exact(self, i: int) -> Tensor:
        """A sample's outputs, nothing rounded."""

    @abstractmethod
    def answer(self, i: int) -> Tensor:
        """A sample's outputs with the scales found so far."""

    @abstractmethod
    def round(self) -> None:
        """Search all factors once, one after the other."""


class _AttentionSearch(_Search[AttentionSample]):
    names = _ATTENTION

    def __init__(self, samples: Sequence[AttentionSample], seen: Seen, bits: int, config: QuantConfig) -> None:
        super().__init__(samples, seen, bits, config)
        gradients = clipped([sample.gradient for sample in samples], (2,), config)
        sums = clipped([sample.gradient_sum for sample in samples], (1,), config)
        self.scorers = [
            replace(sample, gradient=gradient, gradient_sum=whole)
            for sample, gradient, whole in zip(samples, gradients, sums, strict=True)
        ]
        self.scored_by = ErrorMetric(gradients, config.shrinkage)
        self.by_octaves = config.scheme == "log"
        self.grain = 1.0 if self.by_octaves else 2.0 ** -(bits // 2)

    def weights(self, i: int, queries: Tensor, keys: Tensor) -> Tensor:
        """The attention weights (P, R, L), computed as `QuantizedAttention` does."""
        sample = self.samples[i]
        logits = queries @ keys.transpose(-2, -1) * sample.scale
        return (logits if sample.bias is None else logits + sample.bias).softmax(-1)

    def exact(self, i: int) -> Tensor:
        sample = self.samples[i]
        return self.weights(i, sample.queries, sample.keys) @ sample.values

    def probability(self, grain: float | None = None) -> ProbabilityQuantizer | LogQuantizer:
        """Of the attention weights, at a tried split or number of levels an octave, or the one found so far."""
        value = torch.tensor(self.grain if grain is None else grain)
        return LogQuantizer(value, self.bits) if self.by_octaves else ProbabilityQuantizer(value, self.bits)

    def answer(self, i: int) -> Tensor:
        weights = self.weights(i, self.rounded("queries", i), self.rounded("keys", i))
        return self.probability()(weights) @ self.rounded("values", i)

    def round(self) -> None:
        probability = self.probability()
        keys, values = self.all_rounded("keys"), self.all_rounded("values")

        def with_queries(i: int, factor: float) -> Tensor:
            return probability(self.weights(i, self.rounded("queries", i, factor), keys[i])) @ values[i]

        self.choose("queries", with_queries)
        queries = self.all_rounded("queries")

        def with_keys(i: int, factor: float) -> Tensor:
            return probability(self.weights(i, queries[i], self.rounded("keys", i, factor))) @ values[i]

        self.choose("keys", with_keys)
        keys = self.all_rounded("keys")
        weights = [self.weights(i, queries[i], keys[i]) for i in range(len(self.samples))]

        def of_grain(grain: float, lowest: float) -> float:
            quantizer = self.probability(grain)
            return self.error(lambda i: quantizer(weights[i]) @ values[i], lowest)

        splits = [2.0**-power for power in range(1, _FINEST + 1)]
        self.grain = least(of_grain, [2.0**power for power in range(self.bits - 1)] if self.by_octaves else splits)
        probability = self.probability()
        rounded = [probability(weight) for weight in weights]
        self.choose("values", lambda i, factor: rounded[i] @ self.rounded("values", i, factor))

    def state(self) -> object:
        return super().state(), self.grain

    def entry(self) -> Sequence[str]:
        return ("queries", "keys", "probabilities", "values")

    def loss(self, errors: Tensor, sample: AttentionSample, metric: ErrorMetric) -> float:
        """An error that all queries share, as when a value is cut off that all of them read, adds up over them."""
        apart = super().loss(errors, sample, metric)
        if sample.gradient_sum is None:
            return apart
        return apart + float((errors.mean(1) * sample.gradient_sum).sum(-1).square().sum())

    def other_tensors(self) -> dict[str, Tensor]:
        return {f"probabilities.{name}": value for name, value in self.probability().state_dict().items()}


def _largest(sample: ProductSample) -> Tensor:
    right = sample.right
    return torch.stack([right.amax((0, 2)), right.abs().amax((0, 2))]) if sample.largest is None else sample.largest


class _ProductSearch(_Search[ProductSample]):
    names = _PRODUCT

    def __init__(self, samples: Sequence[ProductSample], seen: Seen, bits: int, config: QuantConfig) -> None:
        super().__init__(samples, seen, bits, config)
        left = torch.stack([sample.left.abs().amax((0, 1)) for sample in samples]).amax(0)
        twin = self.ranges["right"].style == "twin"  # whose values below 0 have a scale of their own
        right = torch.stack([_largest(sample)[0 if twin else 1] for sample in samples]).amax(0)
        known = (left > 0) & (right > 0)
        self.balance = torch.where(known, (right / left).sqrt(), torch.ones_like(left))
        self.largest = float((right / self.balance)[known].amax()) if bool(known.any()) else 1.0

    def quantizer(self, name: str, factor: float | None = None) -> InputQuantizer | RowQuantizer:
        """Of one factor of the product; the right one has two ranges where it comes after GELU."""
        factor = self.factors[name] if factor is None else factor
        if name == "left":
            return RowQuantizer(self.balance, torch.tensor([factor]), self.bits)
        negative = self.ranges[name].quantizer().negative_scale
        scales = self.balance * self.largest * factor / 2 ** (self.bits - 1)
        return InputQuantizer(scales, self.bits, axes_behind=1, negative_scale=negative)

    def loss(self, errors: Tensor, sample: ProductSample, metric: ErrorMetric) -> float:
        """Every pixel apart, as in the loss."""
        return metric.of_rows(errors[..., None], None if sample.gradient is None else sample.gradient[..., None])

    def exact(self, i: int) -> Tensor:
        return self.samples[i].left @ self.samples[i].right

    def answer(self, i: int) -> Tensor:
        return self.rounded("left", i) @ self.rounded("right", i)

    def round(self) -> None:
        right = self.all_rounded("right")
        self.choose("left", lambda i, factor: self.rounded("left", i, factor) @ right[i])
        left = self.all_rounded("left")
        self.choose("right", lambda i, factor: left[i] @ self.rounded("right", i, factor))
