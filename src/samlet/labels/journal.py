"""A file of one JSON line an image, appended as images are done, so that a killed run can go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypedDict

from samlet.errors import InputError
from samlet.io.documents import parse_json
from samlet.io.jsons import dumps
from samlet.io.schema import checked
from samlet.io.writing import naming


class Line(TypedDict):
    """What every line has."""

    image: str


class Journal:
    """Lines with at least `image`, the name of an image.

    Args:
        path: the file; a last line that a killed process left unfinished is cut off.
        kind: what a line must have, as `samlet.io.schema` takes it.

    Raises:
        InputError: the file holds lines of another kind.
    """

    def __init__(self, path: Path, kind: Any = Line) -> None:
        self.path, self._kind = path, kind
        if path.is_file():
            with path.open("rb") as file:
                whole = sum(len(line) for line in file if line.endswith(b"\n"))
            os.truncate(path, whole)
            for _ in self:
                pass
        self._file: IO[bytes] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines, one at a time."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    content = checked(parse_json(line), self._kind)
                except InputError as error:
                    raise InputError(
                        f"{self.path} holds a line that samlet did not write ({error}): {line[:60]!r}; the run cannot "
                        "be continued. Give --overwrite (overwrite=True) to begin again, or name a new folder"
                    ) from error
                yield content

    def append(self, content: dict[str, Any]) -> None:
        """Add one line, on disk when this returns."""
        if self._file is None:
            self._file = self.path.open("ab")
        with naming(self.path):
            self._file.write(dumps(content).encode() + b"\n")
            self._file.flush()
