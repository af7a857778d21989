"""Photographs with their masks, prepared for distillation, by position in an endless sequence.

What stands at a position, and which of its masks are asked for, depends on the seed and the position alone.

One module, though long: everything that depends on a position in the sequence is here, so that a run can be continued
anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.data.annotations import Annotation, other_size
from samlet.data.datasets import Dataset
from samlet.data.images import RGBImage
from samlet.data.masks import Mask, bounding_box, decode_rle
from samlet.data.samples import Sample
from samlet.data.transforms import Frame, Resize, preprocess
from samlet.distillation.augmentation import random_view
from samlet.errors import InputError, NothingLeftError
from samlet.models import Embedding, Sam
from samlet.training.batches import Order, read_ahead

_CELL = 4  # pixels of the input to one of the low-res masks
_SMALLEST_SIDE = 16  # pixels: one patch of a SAM


@dataclass(frozen=True)
class Preparation:
    """How a model wants its images.

    Attributes:
        image_size: side of the encoder's input, pixels.
        mean: of R, G, B in 0…255.
        std: of R, G, B.
        resize: how images come to the input; see `samlet.data.transforms.Resize`.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize

    @classmethod
    def of(cls, sam: Sam, image_size: int | None = None) -> Preparation:
        """That of a model at an image size; its own if None."""
        mean, std, resize = sam.preprocessing
        size = sam.check_image_size(image_size)
        return cls(size, tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()), resize)

    def __call__(self, image: RGBImage) -> tuple[Tensor, Frame]:
        """(3, S, S) and the frame of an (H, W, 3) image."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return preprocess(image, self.image_size, mean, std, self.resize)


@dataclass(frozen=True)
class Example:
    """A photograph with P of its masks, one a prompt; all places are pixels of the encoder's input.

    A low-res cell stands for the pixel of the photograph that its centre lies in: `masks` says whether that pixel is
    mask, `xs` and `ys` are its coordinates, so a click on a cell is exactly as true as `masks` says.

    Attributes:
        path: of the photograph.
        position: in the sequence.
        image: (3, S, S) for the student.
        target: (C, h', w') the teacher's embedding; None where it is not known.
        teacher_image: (3, S', S') for the teacher where it is not known.
        masks: (P, h, w) bool, without the padding.
        shares: (P, h, w) the share of each cell that is mask.
        xs: (w,) column of each cell's pixel.
        ys: (h,) row.
        extent: width and height of the photograph.
        points: (P, 2) a point in each mask, x before y.
        boxes: (P, 4) tight boxes.
    """

    path: Path
    position: int
    image: Tensor
    target: Embedding | None
    teacher_image: Tensor | None
    masks: NDArray[np.bool_]
    shares: NDArray[np.float32]
    xs: NDArray[np.float32]
    ys: NDArray[np.float32]
    extent: tuple[int, int]
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]


class Examples:
    """Annotated photographs, some of a dataset.

    Attributes:
        skipped: what could not be used, with the reason.
        target: finds the teacher's embedding of a photograph as it is, by path.

    Args:
        dataset: with masks.
        indices: which of its photographs.
        student: how the student wants its images.
        teacher: how the teacher wants them.
        prompts: masks of each example; masks are asked for repeatedly where a photograph has fewer.
        seed: of order, masks and views.
        augment: mirror, scale and colour at random.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        student: Preparation,
        teacher: Preparation,
        prompts: int,
        seed: int = 0,
        augment: bool = False,
    ) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.student, self.teacher, self.prompts = student, teacher, prompts
        self.seed, self.augment = seed, augment
        self.skipped: dict[Path, str] = {}
        self.target: Callable[[Path], Embedding | None] = lambda _: None
        self._order = Order(len(self.indices), seed)

    def restore_skipped(self, skipped: dict[str, str]) -> None:
        """Know again what an earlier session could not use: reasons by path."""
        self.skipped.update({Path(path): reason for path, reason in skipped.items()})

    def sample(self, index: int) -> Sample | None:
        """A photograph of the dataset by number; None, and an entry in `skipped`, if it cannot be used."""
        try:
            sample = self.dataset.source.sample(index)
            for number, why in enumerate(sample.problems, start=1):
                self.skipped.setdefault(Path(f"{sample.path}, mask {number}"), why)
        except InputError as error:
            self.skipped[self.dataset.path / f"#{index}"] = str(error)
            return None
        if not sample.annotations:
            self.skipped.setdefault(sample.path, f"{sample.path} has no masks; expected at least one that is not empty")
        return None if sample.path in self.skipped else sample

    def sample_at(self, position: int) -> Sample:
        """The photograph at a position, the next one in place of an unusable one.

        Raises:
            InputError: none can be used.
        """
        return self._sample_and_image(position)[0]

    def _sample_and_image(self, position: int) -> tuple[Sample, RGBImage]:
        for number in self._order.from_position(position):
            sample = self.sample(self.indices[number])
            image = None if sample is None else self._image(sample)
            if sample is not None and image is not None:
                return sample, image
        first = next(iter(self.skipped.values()))
        raise NothingLeftError(f"none of the {len(self.indices)} photographs can be used; the first: {first}")

    def _image(self, sample: Sample) -> RGBImage | None:
        try:
            image = sample.image()
            height, width = image.shape[:2]
            if max(height, width) < _SMALLEST_SIDE:
                raise InputError(f"{sample.path} is {width}x{height} pixels; expected at least {_SMALLEST_SIDE}")
            for annotation in sample.annotations:
                if tuple(annotation.rle["size"]) != (height, width):
                    annotated = int(annotation.rle["size"][0]), int(annotation.rle["size"][1])
                    raise InputError(other_size(sample.path, (height, width), annotated))
        except InputError as error:
            self.skipped[sample.path] = str(error)
            return None
        return image

    def visited(self, positions: int) -> Iterator[Sample]:
        """The photographs at the first so many positions, each once."""
        return (self.sample_at(position) for position in range(min(positions, len(self.indices))))

    def at(self, position: int) -> Example:
        """The example at a position of the endless sequence."""
        sample, image = self._sample_and_image(position)
        return self._example(sample, image, position, self.augment)

    def stream(self, positions: Iterable[int]) -> Iterator[Example]:
        """`at` each position, read ahead in other threads."""
        return read_ahead(self.at, positions)

    def each(self) -> Iterator[Example]:
        """Every usable photograph once, as it is, in the dataset's order."""
        for index in self.indices:
            sample = self.sample(index)
            image = None if sample is None else self._image(sample)
            if sample is not None and image is not None:
                yield self._example(sample, image, index, augment=False)

    def _example(self, sample: Sample, image: RGBImage, position: int, augment: bool) -> Example:
        rng = np.random.default_rng([self.seed, 2, position])
        order = rng.permutation(len(sample.annotations))
        if augment:
            view = random_view(image.shape[0], image.shape[1], rng)
            seen = [view.mask(decode_rle(sample.annotations[i].rle)) for i in order[: 2 * self.prompts]]
            found = [(mask, _some_point(mask, rng), _corners(mask)) for mask in seen if mask.any()]
            if found:
                fill = np.array(self.student.mean).round().astype(np.uint8)
                return self._made(sample, view.image(image, fill), position, found[: self.prompts])
        chosen = [sample.annotations[i] for i in order[: self.prompts]]
        return self._made(sample, image, position, [_as_it_is(annotation) for annotation in chosen])

    def _made(
        self,
        sample: Sample,
        image: RGBImage,
        position: int,
        found: list[tuple[Mask, tuple[float, float], tuple[float, ...]]],
    ) -> Example:
        pixels, frame = self.student(image)
        rows, columns = (_places(frame, axis) for axis in (0, 1))
        fine_rows, fine_columns = (_places(frame, axis, _CELL) for axis in (0, 1))
        masks = np.stack([mask[np.ix_(rows, columns)] for mask, _, _ in found])
        shares = np.stack([_shares(mask[np.ix_(fine_rows, fine_columns)]) for mask, _, _ in found])
        again = np.arange(self.prompts) % len(found)
        points = np.array([point for _, point, _ in found], np.float32)
        corners = np.array([box for _, _, box in found], np.float32).reshape(-1, 2, 2)
        target = None if self.augment else self.target(sample.path)
        known = target is not None
        return Example(
            path=sample.path,
            position=position,
            image=pixels,
            target=target,
            teacher_image=None if known else pixels if self.teacher == self.student else self.teacher(image)[0],
            masks=masks[again],
            shares=shares[again],
            xs=_to_input(frame, columns, 1),
            ys=_to_input(frame, rows, 0),
            extent=(frame.resized[1], frame.resized[0]),
            points=frame.to_input(torch.from_numpy(points)).numpy()[again],
            boxes=frame.to_input(torch.from_numpy(corners)).numpy().reshape(-1, 4)[again],
        )


class TeacherPhotographs:
    """The photographs of examples as the teacher wants them, for the cache of its embeddings.

    Args:
        samples: those that will be asked for.
        prepare: for the teacher.
    """

    def __init__(self, samples: Iterable[Sample], prepare: Preparation) -> None:
        self._prepare = prepare
        self._samples = {sample.path: replace(sample, annotations=()) for sample in samples}

    @property
    def paths(self) -> list[Path]:
        """Of the photographs."""
        return list(self._samples)

    def digest(self, path: Path) -> str | None:
        """SHA-256 of a photograph's file."""
        content = self._samples[path].content
        return hashlib.sha256(path.read_bytes() if content is None else content()).hexdigest()

    def read(self, path: Path) -> RGBImage | None:
        """The photograph."""
        return self._samples[path].image()

    def prepare(self, image: RGBImage) -> Tensor:
        """(3, S, S)."""
        return self._prepare(image)[0]


def _as_it_is(annotation: Annotation) -> tuple[Mask, tuple[float, float], tuple[float, ...]]:
    return decode_rle(annotation.rle), annotation.point, annotation.box


def _some_point(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    row, column = np.unravel_index(int(rng.choice(np.flatnonzero(mask))), mask.shape)
    return float(column), float(row)


def _corners(mask: Mask) -> tuple[float, ...]:
    x, y, width, height = bounding_box(mask)
    return float(x), float(y), float(x + width), float(y + height)


def _places(frame: Frame, axis: int, parts: int = 1) -> NDArray[np.intp]:
    """Rows (axis 0) or columns (axis 1) of the photograph in which the centres of the low-res cells lie, or of the
    `parts` parts of each."""
    size, resized = (frame.height, frame.width)[axis], frame.resized[axis]
    cells = max(1, -(-(resized - _CELL // 2) // _CELL))
    centres = (np.arange(cells * parts) + 0.5) * _CELL / parts
    return np.minimum((centres * size / resized).astype(np.intp), size - 1)


def _shares(fine: Mask) -> NDArray[np.float32]:
    """(h · 4, w · 4) to the mean of each 4 × 4."""
    height, width = fine.shape[0] // _CELL, fine.shape[1] // _CELL
    return fine.reshape(height, _CELL, width, _CELL).mean(axis=(1, 3), dtype=np.float32)


def _to_input(frame: Frame, places: NDArray[np.intp], axis: int) -> NDArray[np.float32]:
    return (places * frame.resized[axis] / (frame.height, frame.width)[axis]).astype(np.float32)
