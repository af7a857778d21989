"""Tables in Markdown that read well as text too, and reports made of lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from samlet.io.writing import new_file


def table(rows: Sequence[Sequence[str]], align: str = "left") -> list[str]:
    """Lines of a table, its head first, cells padded to columns.

    Args:
        rows: of equal length.
        align: `left`; `right`; or one letter for each column, `l` or `r`.
    """
    sides = align[0] * len(rows[0]) if align in ("left", "right") else align
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = (c.rjust(w) if side == "r" else c.ljust(w) for c, w, side in zip(row, widths, sides, strict=True))
        return f"| {' | '.join(cells)} |"

    marks = ("-" * (w + 1) + ":" if side == "r" else "-" * (w + 2) for w, side in zip(widths, sides, strict=True))
    return [line(rows[0]), f"|{'|'.join(marks)}|", *(line(row) for row in rows[1:])]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, atomically."""
    with new_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
