"""Remarks on what was read, for people, on stderr."""

from __future__ import annotations

import sys


def remark(text: str) -> None:
    """Say one thing about a file that was read."""
    print(f"samlet: {text}", file=sys.stderr)
