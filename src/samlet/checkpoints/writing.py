"""Writing so that nothing is ever half-written or silently replaced."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samlet.errors import InputError


def check_output(path: Path, marker: str | None = None, overwrite: bool = False) -> None:
    """Refuse an output folder that holds something.

    Args:
        path: the folder that will be written.
        marker: name of a file that tells a folder of our own making, which `overwrite` may replace.
        overwrite: replace such a folder.

    Raises:
        InputError: the path is a file, or a folder that holds something else.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a new folder to write to")
    if not path.is_dir() or not any(path.iterdir()):
        return
    ours = marker is not None and (path / marker).is_file()
    if ours and overwrite:
        return
    remedy = "Pass --overwrite to replace it, or name" if ours else "Name"
    held = ", ".join(sorted(entry.name for entry in path.iterdir())[:3])
    raise InputError(f"{path} already holds {held}; nothing was written. {remedy} a new folder")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(replaced)
            temporary.replace(path)
            shutil.rmtree(replaced)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file name beside `path`, renamed to it when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read, atomically."""
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
