"""Downloading one file: continued after an interruption, in this process or the next, and checked before it counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from samlet.errors import SamletError
from samlet.io.progress import progress_bar
from samlet.io.writing import write_json
from samlet.zoo.transport import Remote, TransferError, ask, read

PAUSES = (1.0, 2.0, 4.0)  # seconds before each further attempt, after a connection broke that had brought something
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(url: str, path: Path, token: str | None = None, have: Callable[[Remote], bool] = lambda _: False) -> Remote:
    """Download a file. The caller sees to it that one process at a time does.

    Args:
        url: what to download.
        path: the file to write; until it is whole and checked it is called `<path>.part`.
        token: sent to the host of `url` and to no other.
        have: whether the content, once the server has described it, is here already; then nothing is written.

    Returns:
        What the server says about the file.

    Raises:
        TransferError: the server could not be reached, refused, or stopped before the end.
        SamletError: the file arrived damaged, or cannot be written.
    """
    part = _Part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remote = _complete(url, part, token, have)
        if not have(remote):
            _check(path.name, part, remote)
            part.path.replace(path)
        part.remove()
    except OSError as error:
        raise SamletError(
            f"{path} could not be written: {error.strerror or error}. What has arrived is kept and the next call "
            "continues; make room for it, or set SAMLET_CACHE to a folder elsewhere"
        ) from error
    return remote


class _Part:
    """The bytes that have arrived, in a file beside the target, and beside them what the whole will be."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.sidecar = target.with_name(f"{target.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remote(self) -> Remote | None:
        """The file that the bytes are the beginning of; None if that is not known for sure."""
        try:
            content = json.loads(self.sidecar.read_text(encoding="utf-8"))
            found = Remote(etag=str(content["etag"]), size=int(content["size"]), commit=str(content["commit"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if found.etag else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)


def _complete(url: str, part: _Part, token: str | None, have: Callable[[Remote], bool]) -> Remote:
    """Fetch until all bytes are there, again after an interruption if the last attempt brought some."""
    for pause in PAUSES:
        before = part.size()
        try:
            return _attempt(url, part, token, have)
        except TransferError:
            if part.size() <= before:
                raise
            time.sleep(pause)
    return _attempt(url, part, token, have)


def _attempt(url: str, part: _Part, token: str | None, have: Callable[[Remote], bool]) -> Remote:
    """Fetch the bytes that are missing."""
    known = part.remote()
    start = part.size() if known else 0
    if known and start >= known.size:
        return known
    response, remote, start = ask(url, token, start, known)
    with response:
        if have(remote):
            return remote
        if not start:
            part.remove()
            write_json(part.sidecar, dataclasses.asdict(remote))
        done = start
        bar = progress_bar(part.path.stem, "B", remote.size, start, in_bytes=True)
        with bar, part.path.open("ab") as file:
            while done < remote.size and (chunk := read(response)):
                file.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
    if done < remote.size:
        raise TransferError(f"the connection ended after {done} of {remote.size} bytes; the next call continues there")
    return remote


def _check(name: str, part: _Part, remote: Remote) -> None:
    """Compare what arrived with what was announced, and remove it if it differs."""
    what, found, expected = "size", str(part.size()), str(remote.size)
    if found == expected and _SHA256.fullmatch(remote.etag):
        with part.path.open("rb") as file:
            what, found, expected = "SHA-256", hashlib.file_digest(file, "sha256").hexdigest(), remote.etag
    if found != expected:
        part.remove()
        raise SamletError(
            f"{name} arrived damaged: its {what} is {found}, expected {expected}. It was removed; try again"
        )
