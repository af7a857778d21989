"""What a name meant when it was first used: the commit of its repository, and the SHA-256 of every file.

A later download of the same commit must bring the same bytes, and a file on this disk that has changed since is
refused. A file is hashed when it is new or its size or time of change is another; otherwise it costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from samlet.errors import SamletError
from samlet.io.locking import locked
from samlet.io.writing import write_json
from samlet.zoo.environment import own_folder


class Pins:
    """What is known of one repository.

    Args:
        repository: `ORG/NAME`.
    """

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.path = own_folder() / "pins" / f"{repository.replace('/', '--')}.json"

    @property
    def commit(self) -> str:
        """The commit that the bare name means; "" if it was never used."""
        found = self._read().get("commit")
        return found if isinstance(found, str) else ""

    def keep(self, commit: str, files: dict[str, Path], known: dict[str, str], bare: bool) -> None:
        """Check files against what is known of them, and note what is new.

        Args:
            commit: that they belong to.
            files: where each is on this disk, by its name in the repository.
            known: SHA-256 of files that the zoo knows.
            bare: whether the repository was named without a revision.

        Raises:
            SamletError: a file is not what it was.
        """
        content = self._read()
        noted: dict[str, Any] = dict(content.get("files") or {})
        new = {
            key: found
            for name, path in files.items()
            if (found := self._check(path, noted.get(key := f"{commit}/{name}"), known.get(name))) is not None
        }
        wanted = {"repository": self.repository, "commit": content.get("commit") or (commit if bare else None)}
        if not new and content.get("commit") == wanted["commit"]:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path):
                content = self._read()
                wanted["commit"] = content.get("commit") or wanted["commit"]
                write_json(self.path, {**wanted, "files": {**(content.get("files") or {}), **new}})
        except OSError as error:
            print(f"samlet: {self.path} could not be written ({error.strerror}); nothing is pinned", file=sys.stderr)

    def _check(self, path: Path, noted: Any, known: str | None) -> dict[str, Any] | None:
        """What to note of a file; None if all of it is noted already."""
        state = path.stat()
        seen = {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
        before = noted if isinstance(noted, dict) and isinstance(noted.get("sha256"), str) else {}
        if before and all(before.get(key) == value for key, value in seen.items()):
            digest = before["sha256"]
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        for expected, whence in ((known, "as samlet knows it"), (before.get("sha256"), f"as {self.path} noted it")):
            if expected and digest != expected:
                raise SamletError(
                    f"{path} is not what {self.repository} held: its SHA-256 is {digest}, expected {expected}, {whence}"
                    f". Delete {path.resolve()} to fetch it again"
                )
        found = {"sha256": digest, **seen}
        return None if found == before else found

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
