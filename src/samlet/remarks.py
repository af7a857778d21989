"""Remarks on what was read, for people, on stderr."""

from __future__ import annotations

import sys

_told: set[str] = set()


def remark(text: str) -> None:
    """Say one thing about a file that was read; the same thing is said once."""
    if text not in _told:
        _told.add(text)
        print(f"samlet: {text}", file=sys.stderr)


def shortened(names: list[str], shown: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
