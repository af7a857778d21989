"""Endless, reproducible batches of photographs at the encoder's input size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samlet.data.images import RGBImage, read_image
from samlet.data.transforms import preprocess
from samlet.errors import InputError

_SMALLEST_CROP = 0.5


class Photographs:
    """Photographs by path, prepared for the encoder.

    `skipped` names those that could not be read, with the reason; `seen` those that `shuffled` gave out.

    Args:
        paths: image files.
        image_size: side of the encoder's input, pixels.
        mean: (3, 1, 1) of RGB in 0…255.
        std: (3, 1, 1).
    """

    def __init__(self, paths: Sequence[Path], image_size: int, mean: Tensor, std: Tensor) -> None:
        self.paths = list(paths)
        self.image_size, self.mean, self.std = image_size, mean, std
        self.skipped: dict[Path, str] = {}
        self.seen: set[Path] = set()

    def _read(self, path: Path) -> RGBImage | None:
        if path in self.skipped:
            return None
        try:
            return read_image(path)
        except InputError as error:
            self.skipped[path] = str(error)
            if len(self.skipped) == len(self.paths):
                raise InputError(f"none of the {len(self.paths)} images can be read; the first: {error}") from error
            return None

    def sample(self, count: int, seed: int) -> Iterator[Tensor]:
        """`count` readable photographs (or all, if fewer) drawn at random, as they are, (1, 3, S, S) each."""
        given = 0
        for index in np.random.default_rng(seed).permutation(len(self.paths)):
            if given == count:
                return
            image = self._read(self.paths[index])
            if image is not None:
                given += 1
                yield preprocess(image, self.image_size, self.mean, self.std)[0][None]

    def shuffled(self, batch: int, seed: int, augment: bool = True) -> Iterator[Tensor]:
        """Endless batches (batch, 3, S, S): every epoch in another order, cropped and mirrored at random."""
        rng = np.random.default_rng(seed)
        ready: list[Tensor] = []
        while True:
            for index in rng.permutation(len(self.paths)):
                image = self._read(self.paths[index])
                if image is None:
                    continue
                self.seen.add(self.paths[index])
                if augment:
                    image = random_view(image, rng)
                ready.append(preprocess(image, self.image_size, self.mean, self.std)[0])
                if len(ready) == batch:
                    yield torch.stack(ready)
                    ready = []


def random_view(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """A random crop of at least half of each side, of the image's own shape, mirrored half of the time."""
    height, width = image.shape[:2]
    share = rng.uniform(_SMALLEST_CROP, 1.0)
    crop_h, crop_w = max(1, round(height * share)), max(1, round(width * share))
    top, left = rng.integers(0, height - crop_h + 1), rng.integers(0, width - crop_w + 1)
    view = image[top : top + crop_h, left : left + crop_w]
    return np.ascontiguousarray(view[:, ::-1] if rng.random() < 0.5 else view)
