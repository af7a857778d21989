"""What a row of the table of inputs is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Make = Callable[[Path, Path], object]
"""Writes the files of a row into an empty folder (first); the second folder has models and data that are sound."""


@dataclass(frozen=True)
class Row:
    """One input.

    Attributes:
        name: what is wrong with it.
        words: of the command line; `{base}` is the folder of models and data, `{here}` that of the row.
        code: exit code.
        said: what the last line on stderr must have in it, or, with code 0, any line.
        make: writes its files.
        left: names that may be there afterwards, and the reason is in the row: a result, or a run that goes on.
        environment: of the command.
        seconds: of computing that it may take.
    """

    name: str
    words: str
    code: int
    said: str
    make: Make = field(default=lambda _here, _base: None)
    left: tuple[str, ...] = ()
    environment: dict[str, str] | None = None
    seconds: float = 5.0

    @property
    def command(self) -> str:
        return self.words.split()[0]


def written(name: str, content: Any) -> Make:
    """Makes one file: bytes, text, or anything else as JSON."""

    def make(here: Path, _base: Path) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    return make


def all_of(*makes: Make) -> Make:
    """Makes the files of several."""

    def make(here: Path, base: Path) -> None:
        for one in makes:
            one(here, base)

    return make


def nested(depth: int) -> str:
    """A JSON of lists in lists."""
    return "[" * depth + "]" * depth
