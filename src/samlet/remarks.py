"""Remarks on what was read, for people, on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_told: set[str] = set()
_collecting: list[list[str]] = []


def remark(text: str) -> None:
    """Say one thing about a file that was read; the same thing is said once."""
    for one in _collecting:
        one.append(text)
    if text not in _told:
        _told.add(text)
        print(f"samlet: {text}", file=sys.stderr)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """A list of what is said while it lasts."""
    said: list[str] = []
    _collecting.append(said)
    try:
        yield said
    finally:
        _collecting.remove(said)


def shortened(names: list[str], shown: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
