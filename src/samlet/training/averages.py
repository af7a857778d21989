"""An average of a model's weights over its last steps: better than the last weights where the learning rate is high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

_YOUNG = 10
_PREFIX = "average."


class WeightAverage:
    """Exponential moving average of parameters.

    Early on it forgets faster: after `n` steps it moves by at least 9 / (10 + n) of the way.

    Args:
        parameters: by name; they are trained elsewhere.
        decay: share of the average that a step keeps, such as 0.999.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self._parameters, self._decay = dict(parameters), decay
        self._averages = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, counted from 0."""
        keep = min(self._decay, (1 + step) / (_YOUNG + step))
        for name, average in self._averages.items():
            average.lerp_(self._parameters[name], 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts, the model has the average as its weights."""
        trained = {name: value.detach().clone() for name, value in self._parameters.items()}
        self.take()
        try:
            yield
        finally:
            self._put(trained)

    def take(self) -> None:
        """Give the model the average for good."""
        self._put(self._averages)

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {_PREFIX + name: value for name, value in self._averages.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """From a checkpoint; one without averages leaves the weights as they are now."""
        for name, average in self._averages.items():
            average.copy_(tensors.get(_PREFIX + name, self._parameters[name]))

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
