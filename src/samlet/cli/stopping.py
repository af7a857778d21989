"""Ending a command by Ctrl+C or SIGTERM: clean up, say so in one line, and be gone in any case.

An exception that a signal raises may come up inside a library, which turns it into an error of its own or holds a lock
for ever. So the signal is written down, whatever becomes of the exception, and a timer ends the process if nothing else
does. What is left then is what a killed process leaves, and the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

GRACE = 10.0
"""Seconds to clean up in."""

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopping:
    """While it lasts, SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, unless others look after them.

    Attributes:
        number: of the signal that came; None if none did.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in _CODES:
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = before
                    signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._timer is not None:
            self._timer.cancel()

    def _stop(self, number: int, _: object) -> None:
        self.number = number
        if self._timer is None:
            self._timer = threading.Timer(GRACE, self._leave)
            self._timer.daemon = True
            self._timer.start()
        raise KeyboardInterrupt

    def _leave(self) -> None:
        os.write(2, b"samlet: stopped\n")
        os._exit(self._code())

    def _code(self) -> int:
        return _CODES.get(signal.Signals(self.number), 130) if self.number is not None else 130

    def told(self) -> int:
        """Say that the command was stopped; its exit code."""
        print("samlet: stopped", file=sys.stderr)
        return self._code()
