"""The command line: parse, call one public function, print."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from samlet.cli.completion import script
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
    options = build_parser().parse_args(arguments)
    if options.completion is not None:
        from samlet.zoo.registry import ENTRIES  # only now: `--help` does not wait for it

        print(script(build_parser(), options.completion, tuple(ENTRIES)), end="")
        return 0
    if options.command is None:
        print(FIRST_STEPS)
        return 0
    options.began = began
    forget()
    try:
        _say_how_to_read(options)
        options.run(options)
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
        return _complain(SamletError(f"{error.filename or 'a file'}: {error.strerror or error}; nothing was lost"), 1)
    except KeyboardInterrupt:
        print("samlet: stopped", file=sys.stderr)
        return 130
    return 0


def _say_how_to_read(options: argparse.Namespace) -> None:
    """Apply --range, --page and --stored-pixels, in the commands that have them."""
    if not hasattr(options, "range"):
        return
    from samlet.data.images import Reading, set_reading  # only now: `--help` does not wait for it
    from samlet.data.ranges import Range

    chosen = None if options.range is None else Range.parse(options.range)
    set_reading(Reading(chosen, options.page, options.stored_pixels))


def _complain(error: Exception, code: int) -> int:
    print("samlet: " + " ".join(str(error).split()), file=sys.stderr)
    return code
