"""Tables of the documentation, without padding: they are wide, and padded ones would differ in every line."""

from __future__ import annotations

from collections.abc import Sequence


def compact_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown; the first `left` columns are at the left, the others at the right."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * left + "--:|" * (len(head) - left)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
