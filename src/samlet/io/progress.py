"""Signs of life on stderr: a bar on a terminal, a widget in a notebook, one plain line a minute elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

LINE_SECONDS = 60.0
"""Between two lines where there is no terminal, whatever bars there are."""

_REDRAW_SECONDS = 0.5


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, whose front end draws bars itself."""
    return "ipykernel" in sys.modules


def progress_bar(
    what: str, unit: str, total: int | None, done: int = 0, shown: bool = True, in_bytes: bool = False
) -> Any:
    """A bar on stderr with the time left; inside of `whole` a part of that bar.

    It has what is used of a `tqdm`: `update`, `set_postfix`, `write`, `close`, and is a context.

    Args:
        what: goes on.
        unit: of `total`.
        total: to be done; None if unknown.
        done: before.
        shown: whether there is a bar at all.
        in_bytes: write numbers as kB, MB, ….
    """
    if shown and _whole is not None:
        return _Part(_whole, what, unit, total, done)
    return _made(what, unit, total, done, shown, in_bytes)


def followed(things: Iterable[T], what: str, unit: str, total: int | None = None, shown: bool = True) -> Iterator[T]:
    """The same things, one after the other, under a progress bar.

    Args:
        things: any that can be gone through.
        what: goes on.
        unit: of the things.
        total: how many they are; their length if None and they have one.
        shown: whether there is a bar at all.
    """
    if total is None:
        length = getattr(things, "__len__", None)
        total = None if length is None else length()
    with progress_bar(what, unit, total, shown=shown) as bar:
        for thing in things:
            yield thing
            bar.update()


@contextlib.contextmanager
def working(what: str, shown: bool = True) -> Iterator[None]:
    """A sign of life while something goes on that cannot be counted: the time so far, or a plain line a minute.

    Args:
        what: goes on.
        shown: whether there is one at all.
    """
    if not shown:
        yield
        return
    done, began = threading.Event(), time.monotonic()
    terminal = sys.stderr.isatty() or in_notebook()
    bar = _clock(what) if terminal else None

    def tell() -> None:
        while not done.wait(1.0 if terminal else LINE_SECONDS):
            if bar is not None:
                bar.refresh()
            else:
                write(f"samlet: {what}, {_duration(time.monotonic() - began)} so far")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if bar is not None:
            bar.close()


def _clock(what: str) -> Any:
    if in_notebook():
        from tqdm.auto import tqdm as of_notebooks

        return of_notebooks(desc=what, bar_format="{desc}: {elapsed}")
    from tqdm import tqdm

    return tqdm(desc=what, bar_format="{desc}: {elapsed}", file=sys.stderr)


@contextlib.contextmanager
def whole(unit: str, total: int, shown: bool = True) -> Iterator[None]:
    """One bar over several parts while it lasts: bars that are made meanwhile say in it what goes on.

    Those that count in its unit move it on, what they had done before included.

    Args:
        unit: of `total`.
        total: of all parts.
        shown: whether there is a bar at all; if not, the parts have none either.
    """
    global _whole
    before = _whole
    with _made("", unit, total, 0, shown, False) as bar:
        _whole = _Whole(bar, unit)
        try:
            yield
        finally:
            _whole = before


class _Whole:
    """The bar of all parts, and its unit."""

    def __init__(self, bar: Any, unit: str) -> None:
        self.bar, self.unit = bar, unit


_whole: _Whole | None = None


class _Quiet:
    """What all bars that are no `tqdm` have in common."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """So many are done."""
        raise NotImplementedError

    def set_postfix(self, **values: Any) -> None:
        """Values to show beside the bar."""

    def set_description_str(self, what: str, **_: Any) -> None:
        """What goes on."""

    def write(self, text: str, **_: Any) -> None:
        """A line of text, which leaves bars whole."""
        write(text)

    def close(self) -> None:
        """The end."""


class _Part(_Quiet):
    """A bar inside of a whole one."""

    def __init__(self, whole: _Whole, what: str, unit: str, total: int | None, done: int) -> None:
        self._whole, self._what, self._total, self._done = whole, what, total, done
        self._counts = unit == whole.unit
        if self._counts and done:
            whole.bar.initial = getattr(whole.bar, "initial", 0) + done  # done earlier: no sign of today's speed
            whole.bar.n += done
        self._say()

    def update(self, count: int = 1) -> None:
        self._done += count
        self._say()
        self._whole.bar.update(count if self._counts else 0)

    def set_postfix(self, **values: Any) -> None:
        self._whole.bar.set_postfix(**values)

    def _say(self) -> None:
        of = "" if self._total is None or self._counts else f" {self._done} of {self._total}"
        self._whole.bar.set_description_str(f"{self._what}{of}", refresh=not self._counts)


class _Lines(_Quiet):
    """A bar where there is no terminal: a plain line a minute."""

    def __init__(self, what: str, unit: str, total: int | None, done: int, in_bytes: bool) -> None:
        global _last_line, _open
        self.what, self.unit, self.total, self.n, self.initial = what, unit, total, done, done
        self._scale, self._in_bytes = (1e6 if in_bytes else 1.0), in_bytes
        self._began, self._values = time.monotonic(), ""
        if not _open:
            _last_line = self._began
        _open += 1
        self._closed = False

    def update(self, count: int = 1) -> None:
        global _last_line
        self.n += count
        now = time.monotonic()
        if now - _last_line >= LINE_SECONDS:
            _last_line = now
            write(f"samlet: {self._line(now)}")

    def set_postfix(self, **values: Any) -> None:
        self._values = "".join(f", {name} {value}" for name, value in values.items() if name != "refresh")

    def set_description_str(self, what: str, **_: Any) -> None:
        self.what = what

    def _line(self, now: float) -> str:
        number = f"{self.n / self._scale:.0f}"
        unit = "MB" if self._in_bytes else self.unit
        lead = f"{self.what}: " if self.what else ""
        if not self.total:
            return f"{lead}{number} {unit}{self._values}"
        done = self.n - self.initial
        left = (now - self._began) / done * (self.total - self.n) if done > 0 else None
        told = "" if left is None else f", about {_duration(left)} left"
        share = f"{100 * self.n / self.total:.0f} %"
        return f"{lead}{unit} {number} of {self.total / self._scale:.0f}, {share}{told}{self._values}"

    def close(self) -> None:
        global _open
        if not self._closed:
            self._closed = True
            _open -= 1


_last_line, _open = 0.0, 0


class _None(_Quiet):
    """No bar at all."""

    def __init__(self) -> None:
        self.n = self.initial = 0

    def update(self, count: int = 1) -> None:
        self.n += count


def _made(what: str, unit: str, total: int | None, done: int, shown: bool, in_bytes: bool) -> Any:
    if not shown:
        return _None()
    if in_notebook():
        from tqdm.auto import tqdm as of_notebooks

        return of_notebooks(total=total, initial=done, desc=what or None, unit=unit, unit_scale=in_bytes)
    if not sys.stderr.isatty():
        return _Lines(what, unit, total, done, in_bytes)
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=done,
        desc=what or None,
        unit=unit,
        unit_scale=in_bytes,
        mininterval=_REDRAW_SECONDS,
        maxinterval=_REDRAW_SECONDS,
        file=sys.stderr,
    )


def write(text: str) -> None:
    """A line on stderr, which leaves progress bars whole."""
    if sys.stderr.isatty() or in_notebook():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
