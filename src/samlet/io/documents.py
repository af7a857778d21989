"""JSON of strangers: its size, depth and number of values are looked at before anything is built of it.

The parser of Python recurses, and makes objects many times as large as their text. A few kilobytes of brackets end it
with a `RecursionError`, and a hundred megabytes of commas take ten gigabytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from samlet.errors import InputError

DEEPEST = 64
"""Lists and objects inside one another; what any program writes for models or masks has less than ten."""
MOST_BYTES = 1 << 28
"""Of one document."""
MOST_VALUES = 1 << 22
"""Of one document; each takes some 50 bytes."""

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_CHUNK = 1 << 20
_MOST_DIGITS = 1000


class DocumentError(InputError):
    """What is wrong with a document, to be told with its place."""


def parse_json(content: bytes | str, most_bytes: int = MOST_BYTES, unique: bool = False) -> Any:
    """What a JSON text says; NaN and infinity, which some programs write, are taken.

    Args:
        content: the text; UTF-8, with or without a byte-order mark.
        most_bytes: of the text.
        unique: refuse an object that names a field twice; otherwise the last one counts.

    Raises:
        DocumentError: it is no JSON, or larger or deeper than any that is needed; the message says no place.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(data) > most_bytes:
        raise DocumentError(f"is a JSON of {len(data)} bytes; expected at most {most_bytes}")
    _check_extent(data)
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique if unique else None)
    except RecursionError as error:  # of brackets in a text that never ends
        raise DocumentError(_deep("more")) from error
    except DocumentError:
        raise
    except ValueError as error:
        reason = str(error).split(";")[0]  # of long numbers, Python goes on about itself
        raise DocumentError(f"cannot be read as JSON: {reason}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DocumentError(f"names {twice[:80]!r} twice; expected once")
    return found


def read_json(path: Path, most_bytes: int = MOST_BYTES, error: type[InputError] = InputError) -> Any:
    """What a JSON file says; see `parse_json`.

    Raises:
        InputError: or the `error` asked for: it cannot be read, or is no such JSON.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise DocumentError(f"is a JSON of {size} bytes; expected at most {most_bytes}")
        return parse_json(path.read_bytes(), most_bytes)
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}; expected a JSON file") from reason
    except DocumentError as reason:
        raise error(f"{path} {reason}") from reason


class Extent:
    """Looks at the bytes of a JSON as they come, before a parser does.

    Args:
        deepest: lists and objects inside one another.
        boundary: depth of the entries that are built one at a time; 0 where the whole is built at once.
    """

    def __init__(self, deepest: int = DEEPEST, boundary: int = 0) -> None:
        self._deepest, self._boundary = deepest, boundary
        self._held = b""
        self._in_text = 0
        self._depth = self._values = self._bytes = self._digits = 0

    def feed(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            DocumentError: they are nested too deeply, or an entry is too large.
        """
        data = self._held + data
        self._held = b""
        if (slashes := len(data) - len(data.rstrip(b"\\"))) % 2:
            data, self._held = data[:-1], data[-1:]
        size = len(data)
        if slashes or b"\\" in data:
            data = _ESCAPED.sub(b"", data)
        letters = np.frombuffer(data, np.uint8)
        inside = (np.add.accumulate(letters == ord('"'), dtype=np.int32) + self._in_text) & 1
        if len(letters):
            self._in_text = int(inside[-1])
        outside = inside == 0
        steps = ((letters == ord("[")) | (letters == ord("{"))).astype(np.int8)
        steps -= (letters == ord("]")) | (letters == ord("}"))
        steps *= outside
        depth = self._depth + np.add.accumulate(steps, dtype=np.int64)
        self._check_digits((letters >= ord("0")) & (letters <= ord("9")) & outside)
        values = np.add.accumulate(((letters == ord(",")) & outside) | (steps > 0), dtype=np.int64)
        if not len(letters):
            return
        self._depth = int(depth[-1])
        if (deepest := int(depth.max())) > self._deepest:
            raise DocumentError(_deep(deepest))
        ends = np.flatnonzero(depth <= self._boundary) if self._boundary else np.zeros(0, np.int64)
        first, last = (int(ends[0]), int(ends[-1])) if len(ends) else (-1, -1)
        self._judge(self._values + int(values[first]), self._bytes + (first if len(ends) else size))
        if len(ends):
            self._values, self._bytes = int(values[-1] - values[last]), len(letters) - last
        else:
            self._values += int(values[-1])
            self._bytes += size

    def _check_digits(self, digits: NDArray[np.bool_]) -> None:
        """Refuse numbers that end the parser of large files, which asks Python for them and takes no refusal."""
        others = np.flatnonzero(~digits)
        if not len(others):
            self._digits += len(digits)
            longest = self._digits
        else:
            longest = max(self._digits + int(others[0]), int(np.diff(others).max(initial=1)) - 1)
            self._digits = len(digits) - 1 - int(others[-1])
        if max(longest, self._digits) > _MOST_DIGITS:
            raise DocumentError(f"has a number of more than {_MOST_DIGITS} digits; expected one that a computer has")

    def _judge(self, values: int, size: int) -> None:
        what = "has an entry" if self._boundary else "is a JSON"
        if values > MOST_VALUES:
            raise DocumentError(f"{what} of {values} values or more; expected at most {MOST_VALUES}")
        if size > MOST_BYTES:
            raise DocumentError(f"{what} of {size} bytes or more; expected at most {MOST_BYTES}")


class Watched:
    """A file whose JSON entries are looked at by an `Extent` as a parser reads them."""

    def __init__(self, file: BinaryIO, boundary: int) -> None:
        self._file, self._extent = file, Extent(boundary=boundary)

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises DocumentError as `Extent.feed`."""
        data = self._file.read(size)
        self._extent.feed(data)
        return data


def _check_extent(data: bytes) -> None:
    """Refuse too many values, or too many brackets inside one another."""
    opened = data.count(b"[") + data.count(b"{")
    if opened > DEEPEST or data.count(b",") + opened > MOST_VALUES:  # texts may hold either: look closely
        extent = Extent()
        for start in range(0, len(data), _CHUNK):
            extent.feed(data[start : start + _CHUNK])


def _deep(levels: Any) -> str:
    return f"is a JSON of {levels} levels, nested too deeply; expected at most {DEEPEST}"
