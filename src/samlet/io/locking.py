"""One process at a time: a lock is a file that says who holds it, and that is gone when the work ends.

`filelock` does the locking. A process that is killed leaves the file, but not the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_WITHOUT_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_POLL_S = 0.1


class BusyError(Exception):
    """Another process holds a lock; the message names it, as far as it is known."""


@contextlib.contextmanager
def locked(path: Path, lock: Path | None = None) -> Iterator[None]:
    """Wait until no other process writes a file or folder, and keep others out while the block runs.

    What waited must look again whether `path` is there now.

    Args:
        path: what is written.
        lock: a file in a folder that exists; `<path>.lock` if None.
    """
    lock = path.with_name(f"{path.name}.lock") if lock is None else lock
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(holding(lock))
        except BusyError as busy:
            print(f"waiting for {busy}, which writes {path}", file=sys.stderr)
            stack.enter_context(holding(lock, wait=True))
        yield


@contextlib.contextmanager
def holding(lock: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock while the block runs.

    Args:
        lock: the file, in a folder that exists.
        wait: for another process that holds it.

    Raises:
        BusyError: another process holds it, without `wait`.
    """
    inside = FileLock(lock, timeout=-1 if wait else 0, thread_local=False)
    try:
        inside.acquire(poll_interval=_POLL_S)
    except Timeout:
        raise BusyError(_holder(lock)) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        yield  # a file system without locks
        return
    try:
        with contextlib.suppress(OSError):  # on Windows nobody else may touch it
            lock.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is held: whoever opened it meanwhile sees that it is gone, and makes a new one
        inside.release()


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8")[:200].strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
