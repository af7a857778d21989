"""Reproducible photographs at the encoder's input size, by position in an endless sequence.

What stands at a position depends on the seed and the position alone, not on what was read before. So a run continues
anywhere, and several processes share one sequence without talking.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samlet.data.images import RGBImage, read_image
from samlet.data.transforms import Resize, preprocess
from samlet.errors import InputError, NothingLeftError

_SMALLEST_CROP = 0.4
_SMALLEST_SIDE = 16  # pixels: one patch of a SAM
_AHEAD = 4
_HELD_OUT_SHARE, _MOST_HELD_OUT = 0.3, 24

T = TypeVar("T")


class Order:
    """An endless sequence of the numbers below `count`: every epoch has all of them, in another order.

    What stands at a position depends on the seed and the position alone.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._order = lru_cache(maxsize=4)(self._shuffle)

    def _shuffle(self, epoch: int) -> NDArray[np.intp]:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.count)

    def from_position(self, position: int) -> Iterator[int]:
        """The number at a position, then those that stand in for it, one after the other, if it cannot be used."""
        epoch, at = divmod(position, self.count)
        order = self._order(epoch)
        return (int(order[(at + step) % self.count]) for step in range(self.count))


def read_ahead(at: Callable[[int], T], positions: Iterable[int]) -> Iterator[T]:
    """`at` each position, in order, computed ahead in other threads."""
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="photographs") as pool:
        ready: deque[Future[T]] = deque()
        try:
            for position in positions:
                ready.append(pool.submit(at, position))
                if len(ready) > _AHEAD:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()
        finally:
            for future in ready:
                future.cancel()


def train_val_split(things: Sequence[T], seed: int) -> tuple[list[T], list[T]]:
    """Split photographs at random into those to train on and those to measure on.

    Raises:
        InputError: fewer than two.
    """
    if len(things) < 2:
        raise InputError(f"{len(things)} image was found; expected at least 2: some to train on, some to measure on")
    count = min(_MOST_HELD_OUT, max(1, math.floor(len(things) * _HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(len(things))
    chosen = set(order[:count].tolist())
    return [t for i, t in enumerate(things) if i not in chosen], [things[i] for i in sorted(chosen)]


@dataclass(frozen=True)
class Photograph:
    """One photograph, prepared.

    Attributes:
        path: its file.
        image: (3, S, S) float32.
        view: number of the fixed view that it is, if it is one.
    """

    path: Path
    image: Tensor
    view: int | None = None


class ImageDataset:
    """Photographs by path, prepared for the encoder.

    `skipped` names those that could not be used, with the reason.

    Args:
        paths: image files.
        image_size: side of the encoder's input, pixels.
        mean: (3, 1, 1) of RGB in 0…255, on the CPU.
        std: (3, 1, 1).
        seed: of order and views.
        augment: crop and mirror at random in `at`.
        resize: how images come to the input; see `samlet.data.transforms.Resize`.
        views: random views of each photograph, taken in turns; None for new ones each time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        image_size: int,
        mean: Tensor,
        std: Tensor,
        seed: int = 0,
        augment: bool = True,
        resize: Resize = "longest_side",
        views: int | None = None,
    ) -> None:
        self.paths, self.resize, self.fixed_views = list(paths), resize, views
        self.image_size, self.mean, self.std = image_size, mean, std
        self.seed, self.augment = seed, augment
        self.skipped: dict[Path, str] = {}
        self._order = Order(len(self.paths), seed)
        self._digests: dict[Path, str] = {}

    def resized(self, image_size: int) -> ImageDataset:
        """The same photographs for another side of the encoder's input, pixels."""
        found = ImageDataset(
            self.paths, image_size, self.mean, self.std, self.seed, self.augment, self.resize, self.fixed_views
        )
        found.skipped.update(self.skipped)
        return found

    def restore_skipped(self, skipped: dict[str, str]) -> None:
        """Know again what an earlier session could not use: reasons by path."""
        self.skipped.update({path: skipped[str(path)] for path in self.paths if str(path) in skipped})

    def digest(self, path: Path) -> str | None:
        """SHA-256 of a photograph's file; None if it cannot be used."""
        if path in self.skipped or not path.is_file():
            return None
        if path not in self._digests:
            self._digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._digests[path]

    def read(self, path: Path) -> RGBImage | None:
        """The photograph; None, and an entry in `skipped`, if it cannot be used.

        Raises:
            InputError: none can be used.
        """
        if path in self.skipped:
            return None
        try:
            image = read_image(path)
            if max(image.shape[:2]) < _SMALLEST_SIDE:
                raise InputError(
                    f"{path} is {image.shape[1]}x{image.shape[0]} pixels, smaller than a patch; "
                    f"expected at least {_SMALLEST_SIDE} on the longer side"
                )
        except InputError as error:
            self.skipped[path] = str(error)
            if len(self.skipped) >= len(self.paths):
                raise NothingLeftError(
                    f"none of the {len(self.paths)} images can be used; the first: {error}"
                ) from error
            return None
        return image

    def prepare(self, image: RGBImage) -> Tensor:
        """(3, S, S) of an image as it is."""
        return preprocess(image, self.image_size, self.mean, self.std, self.resize)[0]

    def sample(self, count: int) -> Iterator[Photograph]:
        """`count` usable photographs (or all, if fewer) drawn at random, as they are."""
        given = 0
        for index in np.random.default_rng(self.seed).permutation(len(self.paths)):
            if given == count:
                return
            image = self.read(self.paths[index])
            if image is not None:
                given += 1
                yield Photograph(self.paths[index], self.prepare(image))

    def views(self, start: int, stop: int) -> Iterator[Photograph]:
        """Pictures number `start` to `stop` of a sequence in which none comes twice.

        It begins with the usable photographs as they are, in random order; random views of them follow if `augment`,
        and nothing if not.
        """
        usable: list[Path] = []
        for photograph in self.sample(stop):
            usable.append(photograph.path)
            if len(usable) > start:
                yield photograph
        if not self.augment:
            return
        for number in range(max(start, len(usable)), stop):
            path = usable[number % len(usable)]
            image = self.read(path)
            if image is not None:
                yield Photograph(path, self.prepare(random_view(image, np.random.default_rng([self.seed, 2, number]))))

    def path_at(self, position: int) -> Path:
        """The photograph at a position: every epoch in another order, the next one in place of an unusable one."""
        for index in self._order.from_position(position):
            if self.paths[index] not in self.skipped:
                return self.paths[index]
        raise NothingLeftError(f"none of the {len(self.paths)} images can be used")

    def at(self, position: int) -> Photograph:
        """The photograph at a position of the endless sequence, cropped and mirrored at random if `augment`."""
        while True:
            path = self.path_at(position)
            image = self.read(path)
            if image is not None:
                break
        number = None
        if self.augment and self.fixed_views is not None:
            number = self.number_at(position)
            image = self.view(path, image, number)
        elif self.augment:
            image = random_view(image, np.random.default_rng([self.seed, 1, position]))
        return Photograph(path, self.prepare(image), number)

    def number_at(self, position: int) -> int:
        """The number of the fixed view at a position: every epoch has the next of each photograph."""
        assert self.fixed_views is not None
        return position // len(self.paths) % self.fixed_views

    def view(self, path: Path, image: RGBImage, number: int) -> RGBImage:
        """A fixed view of a photograph, which depends on the seed and the contents of its file."""
        digest = self.digest(path) or ""
        return random_view(image, np.random.default_rng([self.seed, 3, int(digest[:16], 16), number]))

    def stream(self, positions: Iterable[int]) -> Iterator[Photograph]:
        """`at` each position, read ahead in other threads."""
        return read_ahead(self.at, positions)


class FixedViews:
    """Fixed views of photographs, each by its photograph's path and its number, as a cache of embeddings reads them.

    Args:
        photographs: with their number of views.
    """

    def __init__(self, photographs: ImageDataset) -> None:
        self._photographs = photographs

    def digest(self, view: tuple[Path, int]) -> str | None:
        """SHA-256 of what the view is made from; None if the photograph cannot be used."""
        path, number = view
        digest = self._photographs.digest(path)
        return digest and hashlib.sha256(f"{digest} {self._photographs.seed} {number}".encode()).hexdigest()

    def read(self, view: tuple[Path, int]) -> RGBImage | None:
        """The view; None if the photograph cannot be used."""
        path, number = view
        image = self._photographs.read(path)
        return None if image is None else self._photographs.view(path, image, number)

    def prepare(self, image: RGBImage) -> Tensor:
        """(3, S, S) for the encoder."""
        return self._photographs.prepare(image)


def random_view(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """A random crop, mirrored half of the time; each side is drawn apart, so that wide and high views come too.

    Views of other shapes than the photographs' teach more: a square input shows another part of its padding with each.
    """
    height, width = image.shape[:2]
    crop_h, crop_w = (max(1, round(side * rng.uniform(_SMALLEST_CROP, 1.0))) for side in (height, width))
    top, left = rng.integers(0, height - crop_h + 1), rng.integers(0, width - crop_w + 1)
    view = image[top : top + crop_h, left : left + crop_w]
    return np.ascontiguousarray(view[:, ::-1] if rng.random() < 0.5 else view)
