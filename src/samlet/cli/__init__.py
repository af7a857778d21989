"""The command line: parse, call one public function, print."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from samlet.cli.parsers import FIRST_STEPS, build_parser
from samlet.errors import InputError, SamletError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 the user's mistake."""
    began = time.perf_counter()
    options = build_parser().parse_args(arguments)
    if options.command is None:
        print(FIRST_STEPS)
        return 0
    options.began = began
    try:
        options.run(options)
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


def _complain(error: Exception, code: int) -> int:
    print("samlet: " + " ".join(str(error).split()), file=sys.stderr)
    return code
