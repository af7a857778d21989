"""The command line: parse, call one public function, print."""

from __future__ import annotations

import argparse
import errno
import io
import signal
import sys
import threading
import time
from collections.abc import Sequence

from samlet.cli.parsers import FIRST_STEPS, build_parser
from samlet.errors import InputError, NothingLeftError, SamletError
from samlet.io.remarks import forget
from samlet.registry import load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 the user's mistake."""
    began = time.perf_counter()
    try:
        load_plugins()
    except InputError as error:
        return _complain(error, 2)
    _escape_on_terminals()
    try:
        options = build_parser().parse_args(arguments)
    except InputError as error:
        return _complain(error, 2)
    if options.command is None:
        print(FIRST_STEPS)
        return 0
    options.began = began
    forget()
    _clean_up_when_told_to_end()
    try:
        _say_how_to_read(options)
        options.run(options)
        sys.stdout.flush()
    except NothingLeftError as error:
        return _complain(error, 1)
    except InputError as error:
        return _complain(error, 2)
    except SamletError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        users = error.errno in _USERS
        what = error.filename if error.filename is not None else "standard output"
        remedy = "name another path" if users else "nothing was lost"
        return _complain(SamletError(f"{what}: {error.strerror or error}; {remedy}"), 2 if users else 1)
    except MemoryError:
        return _complain(SamletError("there is not enough memory; give a smaller image size, or fewer workers"), 1)
    except RecursionError:
        return _complain(InputError("a file is nested too deeply; expected what other programs write"), 2)
    except KeyboardInterrupt as error:
        print("samlet: stopped", file=sys.stderr)
        return 143 if isinstance(error, _Ended) else 130
    return 0


_LONGEST = 1400  # letters of a message
_USERS = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
        *(errno.ENOENT, errno.EEXIST, errno.EINVAL, errno.ENXIO, errno.ENODEV),
    }
)
"""What a path was named that cannot be, or that this user may not have."""


class _Ended(KeyboardInterrupt):
    """The process was told to end, as batch systems do before they kill."""


def _end(*_: object) -> None:
    raise _Ended


def _clean_up_when_told_to_end() -> None:
    """Let SIGTERM do what Ctrl+C does, unless somebody else has a use for it."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _escape_on_terminals() -> None:
    """Write what a terminal has no letter for as an escape, names of files that are no UTF-8 among it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_how_to_read(options: argparse.Namespace) -> None:
    """Apply --range and --page, in the commands that have them."""
    if not hasattr(options, "range"):
        return
    from samlet.data.ranges import Range
    from samlet.data.reading import MOST_PIXELS, Reading, set_reading  # only now: `--help` does not wait for it

    chosen = None if options.range is None else Range.parse(options.range)
    set_reading(Reading(chosen, options.page, options.max_pixels or MOST_PIXELS))


def _complain(error: Exception, code: int) -> int:
    text = " ".join(str(error).split())
    print("samlet: " + (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"), file=sys.stderr)
    return code
