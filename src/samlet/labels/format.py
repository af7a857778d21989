"""What a format of label files is, and what its writer and its reader deal in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from samlet.data.masks import RLE
from samlet.data.sources import Entry
from samlet.errors import InputError

OBJECT = "object"
"""The class of everything, unless one is named."""


class Masks(Protocol):
    """The masks of one image, as everything mode answers them: dictionaries with `segmentation`, `area`, `bbox`, …

    Attributes:
        size: height and width of the image, pixels.
        decoder_prompts: prompts that were asked.
        seconds: that it took.
    """

    size: tuple[int, int]
    decoder_prompts: int
    seconds: float

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How labels are written.

    Attributes:
        class_name: of every mask that does not say its own as `class_name`, in formats that have classes.
        tolerance: pixels by which a polygon may leave the edge of its mask; 0 for corners of pixels, exactly.
        placed: where the folder will lie in the end, for paths that count from there; where it is written if None.
        classes: all that masks may say, in the order of their numbers; `class_name` alone if empty.

    Raises:
        InputError: an empty name, or a negative tolerance.
    """

    class_name: str = OBJECT
    tolerance: float = 1.0
    placed: Path | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_name.strip() or "\n" in self.class_name:
            raise InputError(f"the class is {self.class_name!r}; expected a name on one line, such as {OBJECT}")
        if not 0 <= self.tolerance < float("inf"):
            raise InputError(f"tolerance is {self.tolerance}; expected pixels from 0 (exact) on, such as 1")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers."""
        return self.classes or (self.class_name,)

    def class_of(self, mask: Mapping[str, Any]) -> str:
        """What a mask is."""
        return str(mask.get("class_name", self.class_name))


@dataclass(frozen=True)
class LabelledObject:
    """One object as a label file has it.

    Attributes:
        rle: its mask, COCO RLE.
        class_name: what it is.
        scores: those of `predicted_iou`, `stability_score`, `point_coords` and `crop_box` that the file says.
    """

    rle: RLE
    class_name: str = OBJECT
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelledImage:
    """One image as label files have it.

    Attributes:
        name: of the image.
        size: height and width, pixels.
        objects: in the order of the file.
    """

    name: str
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...] = field(default=())


class Writer(Protocol):
    """Writes the masks of one image after another; a later one on the same folder goes on where it stopped."""

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        ...

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one image's; raises InputError where two images would share a file."""
        ...

    def finish(self) -> None:
        """Write what is about all images together."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelFormat:
    """One layout of label files.

    Attributes:
        name: on the command line.
        summary: what it writes, one phrase.
        writer: makes the writer into an existing folder.
        read: the images of a folder, in the order of their names.
        clear: removes what the writer wrote into a folder, and nothing else.
        classes: whether it has names of classes.
        polygons: whether masks are polygons, which a tolerance makes shorter.
        photographs: whether it has or names the photographs, so that they must be there.
        one_file: whether all images share a file; otherwise each has one that is called as the image is.
    """

    name: str
    summary: str
    writer: Callable[[Path, LabelSettings], Writer]
    read: Callable[[Path], Iterable[LabelledImage]]
    clear: Callable[[Path], None]
    classes: bool = False
    polygons: bool = False
    photographs: bool = False
    one_file: bool = False

    def settings(self, class_name: str | None, tolerance: float | None) -> LabelSettings:
        """Settings, where None stands for the default; raises InputError for one that the format has no place for."""
        if class_name is not None and not self.classes:
            raise InputError(f"format {self.name} has no classes, and {class_name!r} was named; leave the class out")
        if tolerance is not None and not self.polygons:
            raise InputError(f"format {self.name} has no polygons, so no tolerance; leave it out")
        usual = LabelSettings()
        return LabelSettings(
            class_name=usual.class_name if class_name is None else class_name,
            tolerance=usual.tolerance if tolerance is None else tolerance,
        )

    def recipe(self, settings: LabelSettings) -> dict[str, Any]:
        """The settings that show in the files."""
        said: dict[str, Any] = {"class_name": settings.class_name} if self.classes else {}
        return said | ({"tolerance": settings.tolerance} if self.polygons else {})
