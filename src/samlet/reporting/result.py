"""What Python gets beside a model that a run made: its figures, a table, and the pictures of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image


class RunResult:
    """Figures and pictures of a run, as `model.result`; each is made when it is first asked for, and kept.

    Args:
        title: what was done, one line.
        figures: gives the figures, under the names of the command line's JSON.
        table: gives them as a table.
        pictures: what draws each picture, by name.
        folder: where the report stands; None where nothing was written.

    Examples:
        >>> small = samlet.slim("mobile_sam", "photos", ratio=0.5, steps=200)
        >>> small.result.figures["agreement"]["aligned"]
        >>> small.result.picture("comparison").show()
    """

    def __init__(
        self,
        title: str,
        figures: Callable[[], dict[str, Any]],
        table: Callable[[], str],
        pictures: Mapping[str, Callable[[], Image.Image]],
        folder: Path | None = None,
    ) -> None:
        self.title, self.folder = title, folder
        self._measure, self._tabulate, self._draw = figures, table, dict(pictures)
        self._figures: dict[str, Any] | None = None
        self._table: str | None = None
        self._pictures: dict[str, Image.Image] = {}

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured; where no report was written, it is measured now, which takes a while."""
        if self._figures is None:
            self._figures = self._measure()
        return self._figures

    @property
    def table(self) -> str:
        """The figures as a table, Markdown that reads well as text."""
        if self._table is None:
            _ = self.figures
            self._table = self._tabulate()
        return self._table

    @property
    def pictures(self) -> dict[str, Image.Image]:
        """All pictures by name."""
        return {name: self.picture(name) for name in self._draw}

    def picture(self, name: str) -> Image.Image:
        """One picture; `KeyError` says which there are."""
        if name not in self._draw:
            raise KeyError(f"there is no picture {name!r}; expected one of {', '.join(self._draw)}")
        if name not in self._pictures:
            self._pictures[name] = self._draw[name]()
        return self._pictures[name]

    def __repr__(self) -> str:
        where = "" if self.folder is None else f"\nreport: {self.folder / 'report.md'}"
        if self._figures is None:
            return f"{self.title}; .figures, .table and .pictures are made when they are asked for{where}"
        return f"{self.title}\n\n{self.table}{where}"

    def _repr_markdown_(self) -> str:
        return repr(self)
