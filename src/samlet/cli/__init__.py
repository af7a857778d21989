"""The command line: parse, call one public function, print."""

from __future__ import annotations

import argparse
import errno
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from samlet.cli.completion import script
from samlet.cli.parsers import FIRST_STEPS, build_parser
from samlet.cli.stopping import Stopping
from samlet.errors import InputError, NothingLeftError, SamletError
from samlet.io.remarks import forget
from samlet.registry import load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 the user's mistake."""
    began = time.perf_counter()
    with Stopping() as stopping:
        try:
            _run(arguments, began)
        except KeyboardInterrupt:
            return stopping.told()
        except Exception as error:
            if stopping.number is not None:  # what a library made of it
                return stopping.told()
            return _answer(error)
    return 0


def _run(arguments: Sequence[str] | None, began: float) -> None:
    load_plugins()
    _escape_on_terminals()
    options = build_parser().parse_args(arguments)
    if options.completion is not None:
        from samlet.zoo.registry import ENTRIES  # only now: `--help` does not wait for it

        print(script(build_parser(), options.completion, tuple(ENTRIES)), end="")
        return
    if options.command is None:
        print(FIRST_STEPS)
        return
    options.began = began
    forget()
    _say_how_to_read(options)
    options.run(options)
    sys.stdout.flush()


def _answer(error: Exception) -> int:
    """Tell what went wrong in one line; its exit code.

    Raises:
        Exception: it is a mistake of samlet's own.
    """
    if isinstance(error, SamletError):
        users = isinstance(error, InputError) and not isinstance(error, NothingLeftError)
        return _complain(error, 2 if users else 1)
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 1
    if isinstance(error, OSError):
        users = error.errno in _USERS
        what = error.filename if error.filename is not None else "standard output"
        remedy = "name another path" if users else "nothing was lost"
        return _complain(SamletError(f"{what}: {error.strerror or error}; {remedy}"), 2 if users else 1)
    if isinstance(error, MemoryError):
        return _complain(SamletError("there is not enough memory; give a smaller image size, or fewer workers"), 1)
    if isinstance(error, RecursionError):
        return _complain(InputError("a file is nested too deeply; expected what other programs write"), 2)
    raise error


_LONGEST = 1400  # letters of a message
_PHOTOS = "examples/photos"  # in the documentation's commands, and in clones
_USERS = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
        *(errno.ENOENT, errno.EEXIST, errno.EINVAL, errno.ENXIO, errno.ENODEV),
    }
)
"""What a path was named that cannot be, or that this user may not have."""


def _escape_on_terminals() -> None:
    """Write what a terminal has no letter for as an escape, names of files that are no UTF-8 among it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_how_to_read(options: argparse.Namespace) -> None:
    """Apply --range, --page and --stored-pixels, in the commands that have them."""
    if not hasattr(options, "range"):
        return
    from samlet.data.ranges import Range
    from samlet.data.reading import MOST_PIXELS, Reading, set_reading  # only now: `--help` does not wait for it

    chosen = None if options.range is None else Range.parse(options.range)
    set_reading(Reading(chosen, options.page, options.stored_pixels, options.max_pixels or MOST_PIXELS))


def _complain(error: Exception, code: int) -> int:
    text = " ".join(str(error).split())
    if _PHOTOS in text and not Path(_PHOTOS).exists():
        text += f"; `samlet photos` copies the photographs of the package to {_PHOTOS}"
    print("samlet: " + (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"), file=sys.stderr)
    return code
