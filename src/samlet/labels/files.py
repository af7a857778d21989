"""What formats with files for each image share: names that no two images have, files that are never half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from samlet.data.images import current_reading, orientation_of
from samlet.data.masks import RLE, rle_from_segmentation
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.schema import checked, is_number
from samlet.io.writing import naming
from samlet.labels.journal import Journal

OUR_FILES = frozenset({"run.json", "failures.json", "data.yaml"})
"""Files of a run that are no results of one image."""

NAMES = "run.images.jsonl"
"""Which image a file belongs to, in formats that do not say it themselves."""


_SCORES = ("predicted_iou", "stability_score")


class _Mask(TypedDict):
    segmentation: Any


class FilePerImage:
    """One file, or folder, for each image, called as the image is.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources: dict[str, str] = {}

    def _found(self) -> Iterator[tuple[str, str]]:
        """The stem of each file that is there, and the image that it belongs to."""
        raise NotImplementedError

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        self._sources |= dict(self._found())
        return set(self._sources.values())

    def finish(self) -> None:
        """Nothing is about all images together."""

    def _claim(self, entry: Entry, suffix: str) -> str:
        """The name, without suffix, of an image's file; raises InputError where another image has it."""
        stem = Path(entry.name).stem
        if f"{stem}{suffix}" in OUR_FILES:
            raise InputError(f"{entry.name} cannot have its {stem}{suffix}, which is a file of the run; rename it")
        if self._sources.setdefault(stem, entry.name) != entry.name:
            raise InputError(
                f"{entry.name} and {self._sources[stem]} would both be {stem}{suffix}; rename one, or use "
                "--format jsonl"
            )
        return stem

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file of a name in the folder, all or nothing."""
        target = self.folder / name
        temporary = target.with_name(f".samlet-{target.name}.tmp")
        with naming(target):
            write(temporary)
            temporary.replace(target)


class _Named(TypedDict):
    image: str
    stem: str


class NamedByJournal(FilePerImage):
    """Files that do not say which image they belong to: a journal beside them does.

    Args:
        folder: where the files go.
        there: whether the files of a stem are there.
    """

    def __init__(self, folder: Path, there: Callable[[str], bool]) -> None:
        super().__init__(folder)
        self._journal, self._there = Journal(folder / NAMES, _Named), there

    def _found(self) -> Iterator[tuple[str, str]]:
        return ((line["stem"], line["image"]) for line in self._journal if self._there(line["stem"]))

    def _record(self, entry: Entry, stem: str) -> None:
        self._journal.append({"image": entry.name, "stem": stem})


def codes_of(entries: Iterable[Any], height: int, width: int, where: str) -> list[RLE]:
    """The `segmentation` of each entry of a label file as run-length code.

    Raises:
        InputError: one is no mask of an image of that size.
    """
    codes = []
    for number, entry in enumerate(entries):
        try:
            found = checked(entry, _Mask)["segmentation"]
            codes.append(rle_from_segmentation(found, height, width))
        except InputError as error:
            raise InputError(f"{where}: mask {number} {error}. Mend it, or delete it to have it made again") from error
    return codes


def scores_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the entry of a label file says of how good its mask is and of its click; what is no number is left out."""
    found: dict[str, Any] = {name: entry[name] for name in _SCORES if is_number(entry.get(name))}
    clicks, crop = entry.get("point_coords"), entry.get("crop_box")
    if isinstance(clicks, list) and len(clicks) == 1 and _are_numbers(clicks[0], 2):
        found["point_coords"] = clicks
    if _are_numbers(crop, 4):
        found["crop_box"] = crop
    return found


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(is_number, values))


def names_by_stem(folder: Path) -> dict[str, str]:
    """Which image each stem of a folder belongs to."""
    return {line["stem"]: line["image"] for line in Journal(folder / NAMES, _Named)}


def original(entry: Entry) -> Path | None:
    """The file whose pixels other programs see as the masks have them; None where it has to be written."""
    if not isinstance(entry.content, Path) or entry.page is not None:
        return None
    turned = current_reading().stored_pixels and orientation_of(entry.content) != 1  # which others would turn
    return None if turned else entry.content


def save_frame(entry: Entry, path: Path) -> None:
    """An image's pixels as PNG."""
    Image.fromarray(entry.read()).save(path, format="png")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
