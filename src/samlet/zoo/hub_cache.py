"""A repository in the cache that Hugging Face's tools share: we read what they put there, and they what we add.

`models--ORG--NAME` holds `blobs/ETAG` with the content, `snapshots/COMMIT/FILE` that link to it, and `refs/REVISION`
with the commit that a branch or tag meant when it was last asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from samlet.io.locking import locked
from samlet.io.writing import new_file
from samlet.zoo.reference import is_commit

_ETAG = re.compile(r"[\w-]{8,128}")
_STAGING = ".samlet"


class CachedRepository:
    """One repository.

    Args:
        root: the cache.
        repository: `ORG/NAME`.
    """

    def __init__(self, root: Path, repository: str) -> None:
        name = f"models--{repository.replace('/', '--')}"
        self.folder = root / name
        self._lock = root / ".locks" / name / "samlet.lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process downloads to here, and keep others out while the block runs."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, self._lock):
            yield

    def commit(self, revision: str) -> str:
        """The commit that a revision means here; "" if it is not known."""
        if is_commit(revision):
            return revision if self.snapshot(revision).is_dir() else ""
        try:
            found = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return found if is_commit(found) else ""

    def snapshot(self, commit: str) -> Path:
        """Folder of the files of a commit."""
        return self.folder / "snapshots" / commit

    def names(self, commit: str) -> list[str]:
        """The files of a commit that are here."""
        folder = self.snapshot(commit)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def staging(self, name: str) -> Path:
        """Where a file grows until it is whole."""
        return self.folder / _STAGING / name.replace("/", "--")

    def add(self, commit: str, name: str, staged: Path, etag: str) -> Path:
        """Move a whole file to its place; its path in the snapshot.

        Args:
            commit: that it belongs to.
            name: there.
            staged: the file.
            etag: what the hub calls the content.
        """
        place = self.snapshot(commit) / name
        if not _ETAG.fullmatch(etag):
            place.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(place)
            return place
        blob = self._blob(etag)
        blob.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(blob)
        return self.point(commit, name, etag)

    def holds(self, etag: str, size: int) -> bool:
        """Whether some content is here, of whatever commit."""
        blob = self._blob(etag)
        return _ETAG.fullmatch(etag) is not None and blob.is_file() and blob.stat().st_size == size

    def point(self, commit: str, name: str, etag: str) -> Path:
        """Let a file of a commit be a content that is here; its path in the snapshot."""
        place, blob = self.snapshot(commit) / name, self._blob(etag)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.unlink(missing_ok=True)
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:  # links are not for everybody on Windows
            shutil.copyfile(blob, place)
        return place

    def _blob(self, etag: str) -> Path:
        return self.folder / "blobs" / etag

    def name_commit(self, revision: str, commit: str) -> None:
        """Note what a branch or tag means."""
        if not is_commit(revision):
            with new_file(self.folder / "refs" / revision) as temporary:
                temporary.write_text(commit, encoding="utf-8")

    def tidy(self) -> None:
        """Remove the folder for parts of files, if none is left."""
        with contextlib.suppress(OSError):
            (self.folder / _STAGING).rmdir()
