"""How much an encoder's embedding suffers when parts of it are cut and refitted: measured, and between measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samlet.models import ImageEncoder
from samlet.slimming.losses import embedding_error
from samlet.slimming.reconstruction import Reference
from samlet.slimming.selection import Kept
from samlet.slimming.surgery import cut_encoder

_TINY = 1e-9


class Probe:
    """Measures the error of a cut encoder that is refitted.

    Args:
        encoder: uncut.
        fitted: photographs (3, H, W) to refit on.
        checked: others to measure on.
        folder: an empty folder for files of the refitting.
        seed: of the positions.
        rows: positions that a layer is fitted on.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        fitted: Iterable[Tensor],
        checked: Iterable[Tensor],
        folder: Path,
        seed: int = 0,
        rows: int = 4096,
    ) -> None:
        self._encoder, self._images = encoder, [image[None] for image in checked]
        self._reference = Reference(encoder, fitted, folder, seed, rows, keep=True, at_once=True)
        with torch.no_grad():
            self._expected = [encoder(image) for image in self._images]

    @torch.no_grad()
    def __call__(self, kept: Kept) -> float:
        """Squared error of the embedding over its variance, mean over its maps and the photographs."""
        cut = cut_encoder(self._encoder, kept).requires_grad_(False)
        self._reference.refit(cut, kept)
        errors = [
            float(embedding_error(cut(image), target))
            for image, target in zip(self._images, self._expected, strict=True)
        ]
        return float(np.mean(errors))


@dataclass(frozen=True)
class Curve:
    """Error by share cut: a power law between its points, monotone.

    Attributes:
        points: (share cut, error), at least one.
    """

    points: list[tuple[float, float]]

    def __call__(self, share: float) -> float:
        """Error where `share` of the channels stays."""
        if share >= 1:
            return 0.0
        points = sorted(self.points)
        cuts = np.log([cut for cut, _ in points])
        errors = np.log(np.maximum.accumulate([max(error, _TINY) for _, error in points]))
        slopes = np.maximum(np.diff(errors) / np.diff(cuts), 1.0) if len(points) > 1 else np.ones(1)
        at = math.log(1 - share)
        if at > cuts[-1]:
            found = errors[-1] + slopes[-1] * (at - cuts[-1])
        elif at < cuts[0]:
            found = errors[0] + slopes[0] * (at - cuts[0])
        else:
            found = np.interp(at, cuts, errors)
        return math.exp(found)
