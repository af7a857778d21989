"""SA-1B as it is published: tar shards of `sa_N.jpg` beside `sa_N.json`, read in place."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samlet.data.annotations import read_annotations
from samlet.data.images import EXTENSIONS
from samlet.data.samples import Sample
from samlet.errors import InputError

_LONGEST_NAME = 512


class ShardSource:
    """Photographs with masks in one or more tar files, in their order there.

    Of every pair only the places in its shard are kept, 40 bytes.

    Args:
        shards: uncompressed tar files.

    Raises:
        InputError: one of them is no tar file, or none holds a pair.
    """

    kind = "sa1b"
    annotated = True

    def __init__(self, shards: list[Path]) -> None:
        self._shards = shards
        self.without_masks = 0
        found = [self._index(number, shard) for number, shard in enumerate(shards)]
        self._places = np.concatenate(found)
        if not len(self._places):
            raise InputError(f"{shards[0]} holds no ID.jpg beside an ID.json; expected a shard of SA-1B")

    def _index(self, number: int, shard: Path) -> NDArray[np.int64]:
        """(N, 5): shard, offset and size of the image, offset and size of the JSON."""
        images: dict[str, tuple[int, int]] = {}
        sidecars: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    kind = images if name.suffix.lower() in EXTENSIONS else sidecars
                    if member.isreg() and (kind is images or name.suffix == ".json"):
                        kind[str(name.with_suffix(""))] = (member.offset_data, member.size)
                    archive.members = []  # type: ignore[attr-defined]  # it would keep them all
        except (tarfile.TarError, OSError) as error:
            raise InputError(
                f"{shard} cannot be read as a tar file: {error}; expected an uncompressed shard"
            ) from error
        self.without_masks += len(images.keys() - sidecars.keys())
        rows = [(number, *images[stem], *sidecars[stem]) for stem in images if stem in sidecars]
        return np.array(rows, np.int64).reshape(-1, 5)

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int) -> Sample:
        """One photograph with its annotations."""
        shard, start, size, json_start, json_size = (int(n) for n in self._places[index])
        path = self._shards[shard]
        entry = self._json(path, json_start, json_size)
        name = path / str(entry.get("image", {}).get("file_name", f"image {index}"))[:_LONGEST_NAME]
        found, problems = read_annotations(str(name), entry["annotations"], None)
        return Sample(name, found, content=lambda: _read(path, start, size), problems=problems)

    def _json(self, path: Path, start: int, size: int) -> dict[str, Any]:
        try:
            content = json.loads(_read(path, start, size))
        except ValueError as error:
            raise InputError(f"{path}: the JSON at byte {start} cannot be read: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
            raise InputError(f"{path}: the JSON at byte {start} has no 'annotations'; expected SA-1B's")
        return content


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
