"""Weights from the Hugging Face hub: where they are there, where they are kept here."""

from __future__ import annotations

import os
from pathlib import Path

from samlet.errors import SamletError
from samlet.zoo.download import fetch
from samlet.zoo.registry import Entry
from samlet.zoo.transport import TransferError


def cache_folder() -> Path:
    """Where downloads are kept: $SAMLET_CACHE, else `samlet` in the user's cache folder."""
    chosen = os.environ.get("SAMLET_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "samlet"


def cached(entry: Entry) -> Path | None:
    """Where the last file of a downloaded entry is, or None if a file is missing. Needs no network."""
    paths = _paths(entry)
    return paths[-1] if all(path.is_file() for path in paths) else None


def download(entry: Entry) -> Path:
    """Fetch the files of an entry unless they are in the cache; what was interrupted continues.

    The environment may set HF_ENDPOINT, a mirror of the hub, and HF_TOKEN, for what only some accounts may read.

    Returns:
        Path of the last file.

    Raises:
        SamletError: the hub cannot be reached or refuses, or a file arrived damaged or cannot be written.
    """
    found = cached(entry)
    if found is not None:
        return found
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    token = os.environ.get("HF_TOKEN", "").strip() or None
    paths = _paths(entry)
    try:
        for path in paths:
            fetch(f"{endpoint}/{entry.repository}/resolve/main/{path.name}", path, token)
    except TransferError as error:
        raise SamletError(
            f"the weights of {entry.name} could not be downloaded from {entry.source}: {error}. "
            f"Where there is no network, fetch {' and '.join(entry.files)} of {entry.source} on another machine, copy "
            "the file or folder here and pass its path instead of the name"
        ) from error
    return paths[-1]


def _paths(entry: Entry) -> list[Path]:
    folder = cache_folder() / entry.repository.replace("/", "--")
    return [folder / name for name in entry.files]
