"""COCO instances JSON, and LVIS v1, which is alike, indexed on disk: no file is too large.

A JSON is read through twice, an entry at a time; the entries go to a temporary SQLite database that keeps the recent
ones in memory and vanishes with the process.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import ijson

from samlet.data.annotations import read_annotations, read_rle
from samlet.data.masks import rle_area, rle_box
from samlet.data.planes import stored_size
from samlet.data.rle import check_size
from samlet.data.samples import Sample
from samlet.errors import InputError
from samlet.io.documents import DocumentError, Watched, parse_json
from samlet.io.remarks import remark, shortened
from samlet.io.schema import checked, is_number, shown

_KEPT = ("id", "segmentation", "point_coords", "bbox")
_LARGEST_AT_ONCE = 1 << 28  # bytes
_ENTRY = 2  # depth of the lists whose entries are built one at a time
_LONGEST_NAME = 4096
_SHOWN = 40


class CocoSource:
    """Photographs of a COCO or LVIS JSON that have masks, by path.

    Args:
        path: the JSON.
        images: folder of the images.
        annotated_only: leave out images without masks.

    Raises:
        InputError: the file is no such JSON, or annotates no image that is there.
    """

    kind = "coco"
    annotated = True

    def __init__(self, path: Path, images: Path, annotated_only: bool = True) -> None:
        if not images.is_dir():
            raise InputError(f"{images} is not a folder; name the folder of the images of {path.name} with --images")
        self._path, self._images = path, images
        self._base = sqlite3.connect("", check_same_thread=False)
        self._base.execute("create table mask (image, content)")
        self._base.execute("create table image (id, key, height, width, file)")
        problems: list[str] = []
        self._fill(problems)
        if problems:
            remark(f"{path}: {len(problems)} entries are left out: {shortened(problems)}")
        self._base.execute("create index by_image on mask (image)")
        strays = self._base.execute("select count(*) from mask where image not in (select key from image)").fetchone()[
            0
        ]
        if strays:
            remark(f"{path}: {strays} annotations are of images that it does not list, and are left out")
        kept = "where key in (select image from mask)" if annotated_only else ""
        self._base.execute(f"create table entry as select id, key, file, height, width from image {kept} order by file")
        self._count = int(self._base.execute("select count(*) from entry").fetchone()[0])
        if not self._count:
            why = f" ({shortened(problems, 1)})" if problems else ""
            raise InputError(f"{path} annotates no image{why}; expected COCO instances")
        files = (self._images / row[0] for row in self._base.execute("select file from entry"))
        if not any(file.is_file() for file in files):
            raise InputError(
                f"{self._entry(0)[2]} and all other images of {path.name} are missing; name their folder (--images)"
            )

    def _fill(self, problems: list[str]) -> None:
        """Read the JSON; what is wrong with entries that cannot be used is added to `problems`."""

        def masks() -> Iterator[tuple[str, str]]:
            for number, entry in enumerate(coco_entries(self._path, "annotations")):
                if not isinstance(entry, dict) or not _is_identity(entry.get("image_id")):
                    problems.append(f"annotation {_name(entry, number)} has no image_id")
                elif not entry.get("iscrowd"):
                    yield _key(entry["image_id"]), json.dumps({key: entry[key] for key in _KEPT if key in entry})

        def images() -> Iterator[tuple[str, str, int, int, str]]:
            for number, entry in enumerate(coco_entries(self._path, "images")):
                try:
                    identity, row = _identity_and_size(entry), self._file(entry)
                except InputError as error:
                    problems.append(f"image {_name(entry, number)} lacks id, height, width or file_name ({error})")
                    continue
                yield json.dumps(identity[0]), _key(identity[0]), *identity[1:], row

        self._base.executemany("insert into mask values (?, ?)", masks())
        self._base.executemany("insert into image values (?, ?, ?, ?, ?)", images())

    def _file(self, entry: dict[str, Any]) -> str:
        """Where an image lies in the folder; LVIS v1 says only its address, which ends with split and name."""
        if "file_name" in entry:
            return _file_name(entry["file_name"])
        split, _, name = _file_name(entry.get("coco_url")).rpartition("/")
        split = split.rpartition("/")[2]
        return f"{split}/{name}" if (self._images / split / name).is_file() else name

    def __len__(self) -> int:
        return self._count

    def _entry(self, index: int) -> tuple[Any, str, Path, int, int]:
        row = self._base.execute("select * from entry where rowid = ?", (index + 1,)).fetchone()
        return row[0], row[1], self._images / row[2], row[3], row[4]

    def sample(self, index: int) -> Sample:
        """One photograph with its annotations."""
        image, key, path, height, width = self._entry(index)
        rows = self._base.execute("select content from mask where image = ? order by rowid", (key,))
        entries = [json.loads(row[0]) for row in rows]
        name = f"{self._path} ({path.name})"
        found, problems = read_annotations(name, entries, (height, width), partial(stored_size, path))
        return Sample(path, found, identity=json.loads(image), problems=problems, size=(height, width))


def read_truth(path: Path) -> dict[str, Any]:
    """A COCO or LVIS JSON whose masks are all RLE, as programs that trust their input need it.

    Annotations that are no mask are left out and named in a remark.

    Raises:
        InputError: the file is no such JSON.
    """
    sizes: dict[str, tuple[int, int]] = {}
    ids: dict[str, Any] = {}
    kept: list[dict[str, Any]] = []
    problems: list[str] = []
    truth: dict[str, Any] = {"images": [], "categories": []}
    for number, entry in enumerate(coco_entries(path, "images")):
        with _told(problems, "image", entry, number):
            identity, height, width = _identity_and_size(entry)
            sizes[_key(identity)], ids[_key(identity)] = (height, width), identity
            truth["images"].append(entry)
    for number, entry in enumerate(coco_entries(path, "categories")):
        with _told(problems, "category", entry, number):
            truth["categories"].append(checked(entry, _Category))
    for number, entry in enumerate(coco_entries(path, "annotations")):
        with _told(problems, "annotation", entry, number):
            key = _key(checked(entry, _Annotation)["image_id"])
            if key in sizes:
                kept.append({"iscrowd": 0, **entry, "image_id": ids[key], **_as_rle(entry, sizes[key])})
    if problems:
        remark(f"{path}: {len(problems)} entries are left out of the truth: {shortened(problems, 3)}")
    return {**truth, "annotations": kept}


@contextlib.contextmanager
def _told(problems: list[str], what: str, entry: Any, number: int) -> Iterator[None]:
    """Note down what is wrong with an entry, and go on."""
    try:
        yield
    except InputError as error:
        problems.append(f"{what} {_name(entry, number)}: {error}")


def _as_rle(entry: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    rle = read_rle(entry, size)
    found: dict[str, Any] = {"segmentation": rle}
    if not is_number(entry.get("area")):
        found["area"] = rle_area(rle)
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
        found["bbox"] = list(rle_box(rle))
    return found


def _name(entry: Any, number: int) -> Any:
    identity = entry.get("id") if isinstance(entry, dict) else None
    return str(identity)[:_SHOWN] if _is_identity(identity) else f"number {number}"


class _Category(TypedDict):
    id: int


class _Annotation(TypedDict):
    image_id: int | float | str
    category_id: int


class _Image(TypedDict):
    id: int | float | str
    height: int | float
    width: int | float


def _is_identity(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _identity_and_size(entry: Any) -> tuple[Any, int, int]:
    """What an image is called, its height and its width.

    Raises:
        InputError: one of them is none.
    """
    found = checked(entry, _Image)
    height, width = int(found["height"]), int(found["width"])
    check_size(height, width)
    return found["id"], height, width


def _file_name(value: Any) -> str:
    """A name that a file can have; raises InputError for anything else."""
    if not isinstance(value, str) or not value or "\0" in value or len(value) > _LONGEST_NAME:
        raise InputError(f"file_name is {shown(value)}; expected the name of a file")
    return value


def _key(identity: Any) -> str:
    """One text for an image's id, be it written as 7, 7.0 or "7"."""
    return str(int(identity)) if isinstance(identity, float) and identity.is_integer() else str(identity)


def coco_entries(path: Path, key: str) -> Iterator[Any]:
    """The entries of one of a JSON's lists, one at a time.

    Raises:
        InputError: the file is no JSON, or has no such list.
    """
    try:
        yield from _streamed(path, key)
    except DocumentError as error:
        raise InputError(f"{path} {error}") from error
    except (OSError, UnicodeDecodeError, OverflowError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def _streamed(path: Path, key: str) -> Iterator[Any]:
    given = 0
    try:
        with _opened(path) as file:
            found, first = False, ""
            for prefix, event, _ in ijson.parse(Watched(file, _ENTRY)):  # the list may be empty, but it must be there
                first = first or event
                if (prefix, event) == (key, "start_array"):
                    found = True
                    break
        if first and first != "start_map":
            raise InputError(f"{path} is a list at its top; expected an object with 'images' and 'annotations'")
        if not found:
            raise InputError(f"{path} has no {key!r}; expected SA-1B or COCO instances JSON")
        with _opened(path) as file:
            for entry in ijson.items(Watched(file, _ENTRY), f"{key}.item", use_float=True):
                given += 1
                yield entry
    except (ijson.JSONError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        for entry in _tolerant(path, key, error)[given:]:
            yield entry


def _tolerant(path: Path, key: str, reason: Exception) -> list[Any]:
    """The entries of a JSON with NaN or infinity in it, which JSON has not, but some programs write.

    Raises:
        InputError: it is no JSON all the same, or too large to be read at once.
    """
    try:
        content = parse_json(path.read_bytes(), _LARGEST_AT_ONCE) if path.stat().st_size <= _LARGEST_AT_ONCE else None
    except DocumentError as error:
        raise InputError(f"{path} {error}") from reason
    if content is None:
        raise InputError(f"{path} cannot be read as JSON: {reason}") from reason
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f"{path} has no {key!r}; expected SA-1B or COCO instances JSON")
    return content[key]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file without the byte-order mark that some editors put before it."""
    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        yield file
