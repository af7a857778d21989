"""Remarks on what was read, for people, on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator

_told: set[str] = set()
_counts: Counter[str] = Counter()
_SAID = 20  # remarks of a kind
_collecting: list[list[str]] = []


def remark(text: str, kind: str | None = None) -> None:
    """Say one thing about a file that was read; the same thing is said once.

    Args:
        text: what to say.
        kind: of which there may be one for every file of a folder: of each only the first few are said.
    """
    for one in _collecting:
        one.append(text)
    if text not in _told:
        _told.add(text)
        if kind is not None:
            _counts[kind] += 1
            if _counts[kind] > _SAID:
                return
            if _counts[kind] == _SAID:
                text += " (further remarks of this kind are left out)"
        print(f"samlet: {text}", file=sys.stderr)


def forget() -> None:
    """Say everything anew from now on, as each command does."""
    _told.clear()
    _counts.clear()


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
