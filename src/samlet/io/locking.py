"""One process at a time writes a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of a file that is to be written; it ends with the block or process.

    The lock is a file beside `path`. It is removed only once `path` exists, because only then may two hold it: one
    who waited for the removed lock and one who made a new one. Both must look for `path` first.
    """
    lock = path.with_name(f"{path.name}.lock")
    with lock.open("ab") as file:
        if not take(file):
            print(f"waiting for another process that writes {path}", file=sys.stderr)
            while not take(file):
                time.sleep(0.2)
        try:
            yield
        finally:
            if path.exists():
                with contextlib.suppress(OSError):  # where an open file cannot be removed
                    lock.unlink()


def take(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; False if another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
