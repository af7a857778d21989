"""SA-1B as it is published: tar shards of `sa_N.jpg` beside `sa_N.json`, read in place."""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samlet.data.annotations import read_annotations, read_sa1b
from samlet.data.images import EXTENSIONS
from samlet.data.planes import stored_size
from samlet.data.samples import Sample
from samlet.errors import InputError
from samlet.io.documents import DocumentError, parse_json

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
            whole = shard.stat().st_size
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if member.offset_data + member.size > whole:
                        raise tarfile.ReadError(f"{member.name[:80]!r} ends beyond the file")
                    name = PurePosixPath(member.name)
                    kind = images if name.suffix.lower() in EXTENSIONS else sidecars
                    if member.isreg() and (kind is images or name.suffix == ".json"):
                        kind[str(name.with_suffix(""))] = (member.offset_data, member.size)
                    archive.members = []  # type: ignore[attr-defined]  # it would keep them all
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
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
        about = entry.get("image")
        called = about.get("file_name") if isinstance(about, dict) else None
        name = path / (called if isinstance(called, str) else f"image {index}").replace("\0", "")[:_LONGEST_NAME]

        def picture() -> bytes:
            return _read(path, start, size)

        stored = partial(stored_size, picture)
        found, problems = read_annotations(str(name), entry["annotations"], None, stored)
        return Sample(name, found, content=picture, problems=problems)

    def _json(self, path: Path, start: int, size: int) -> dict[str, Any]:
        where = f"{path}, JSON at byte {start}"
        try:
            return {**read_sa1b(parse_json(_read(path, start, size)), where)}
        except DocumentError as error:
            raise InputError(f"{where}, {error}") from error


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
