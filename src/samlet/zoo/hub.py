"""Downloading weights from the Hugging Face hub: progress, resume and cache are the hub client's, the checksum ours."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from samlet.errors import SamletError
from samlet.zoo.registry import Entry

_SHA256 = re.compile(r"[0-9a-f]{64}")


def cached(entry: Entry) -> Path | None:
    """Where the downloaded weights of an entry are, or None. Needs no network."""
    paths = [try_to_load_from_cache(entry.repository, name) for name in entry.files]
    found = [Path(path) for path in paths if isinstance(path, str)]
    return found[-1] if len(found) == len(paths) else None


def download(entry: Entry) -> Path:
    """Fetch the files of an entry unless they are in the cache; after a broken connection the client continues.

    Returns:
        Path of the last file.

    Raises:
        SamletError: the hub cannot be reached or does not have the file, or the file arrived damaged.
    """
    path = cached(entry)
    if path is not None:
        return path
    try:
        path = [Path(hf_hub_download(entry.repository, name)) for name in entry.files][-1]
    except Exception as error:  # whatever the client and its transport raise, the download failed
        reason = str(error).strip().splitlines()[0].rstrip(" .") if str(error).strip() else type(error).__name__
        raise SamletError(
            f"the weights of {entry.name} could not be downloaded from {entry.source}: {reason}. "
            f"Where there is no network, fetch {' and '.join(entry.files)} of {entry.source} on another machine, copy "
            "the file or folder here and pass its path instead of the name"
        ) from error
    check(path)
    return path


def check(path: Path) -> None:
    """Compare a cached file with the SHA-256 that the hub stores it under; remove it if it differs.

    Raises:
        SamletError: the file is damaged.
    """
    # One link only: the blob that has the hash for its name may itself link into the store that repositories share.
    blob = path.parent / path.readlink() if path.is_symlink() else path
    if not _SHA256.fullmatch(blob.name):  # small files are stored under another kind of hash
        return
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        blob.resolve().unlink()
        blob.unlink(missing_ok=True)
        raise SamletError(
            f"{path.name} arrived damaged: its SHA-256 is {found}, expected {blob.name}. It was removed; try again"
        )
