"""COCO instances JSON, and LVIS v1, which is alike, indexed on disk: no file is too large.

A JSON is read through twice, an entry at a time; the entries go to a temporary SQLite database that keeps the recent
ones in memory and vanishes with the process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from samlet.data.annotations import read_annotations
from samlet.data.samples import Sample
from samlet.errors import InputError

_KEPT = ("segmentation", "point_coords")


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
        self._base.execute("create table image (id, height, width, file)")
        try:
            self._fill()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{path} is not COCO instances JSON: {error!r} is missing or misplaced") from error
        self._base.execute("create index by_image on mask (image)")
        kept = "where id in (select image from mask)" if annotated_only else ""
        self._base.execute(f"create table entry as select id, file, height, width from image {kept} order by file")
        self._count = int(self._base.execute("select count(*) from entry").fetchone()[0])
        if not self._count:
            raise InputError(f"{path} annotates no image; expected COCO instances")
        files = (self._images / row[0] for row in self._base.execute("select file from entry"))
        if not any(file.is_file() for file in files):
            raise InputError(
                f"{self._entry(0)[1]} and all other images of {path.name} are missing; name their folder (--images)"
            )

    def _fill(self) -> None:
        self._base.executemany(
            "insert into mask values (?, ?)",
            (
                (json.dumps(entry["image_id"]), json.dumps({key: entry[key] for key in _KEPT if key in entry}))
                for entry in _items(self._path, "annotations")
                if not entry.get("iscrowd")
            ),
        )
        self._base.executemany(
            "insert into image values (?, ?, ?, ?)",
            (
                (json.dumps(entry["id"]), int(entry["height"]), int(entry["width"]), self._file(entry))
                for entry in _items(self._path, "images")
            ),
        )

    def _file(self, entry: dict[str, Any]) -> str:
        """Where an image lies in the folder; LVIS v1 says only its address, which ends with split and name."""
        if "file_name" in entry:
            return str(entry["file_name"])
        split, name = str(entry["coco_url"]).split("/")[-2:]
        return f"{split}/{name}" if (self._images / split / name).is_file() else name

    def __len__(self) -> int:
        return self._count

    def _entry(self, index: int) -> tuple[Any, Path, int, int]:
        row = self._base.execute("select * from entry where rowid = ?", (index + 1,)).fetchone()
        return row[0], self._images / row[1], row[2], row[3]

    def sample(self, index: int) -> Sample:
        """One photograph with its annotations."""
        image, path, height, width = self._entry(index)
        rows = self._base.execute("select content from mask where image = ? order by rowid", (image,))
        entries = [json.loads(row[0]) for row in rows]
        name = f"{self._path} ({path.name})"
        return Sample(path, read_annotations(name, entries, (height, width)), identity=json.loads(image))


def _items(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The entries of one of a JSON's lists, one at a time."""
    try:
        with path.open("rb") as file:
            found = False
            for prefix, event, _ in ijson.parse(file):  # the list may be empty, but it must be there
                if (prefix, event) == (key, "start_array"):
                    found = True
                    break
        if not found:
            raise InputError(f"{path} has no {key!r}; expected SA-1B or COCO instances JSON")
        with path.open("rb") as file:
            yield from ijson.items(file, f"{key}.item", use_float=True)
    except (OSError, ijson.JSONError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
