"""Paths as people type them."""

from __future__ import annotations

from pathlib import Path

from samlet.errors import InputError


def expanded(path: str | Path) -> Path:
    """A path with the home folder in place of `~` or `~USER`.

    Raises:
        InputError: there is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path} begins with ~, and there is no such user or home folder; give the path") from error
