"""The folder of a page: what goes into it, and when an earlier one may be replaced."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.schema import checked
from samlet.io.writing import check_writable, temporary_folder, writable_path, write_json

FILES = "files.json"
FORMAT = "samlet-web"


def check_folder(path: Path, overwrite: bool) -> Path:
    """Refuse an output folder in use. Hidden files in it, such as those of git, are nobody's business and stay.

    Args:
        path: the folder to write.
        overwrite: replace an earlier page there.

    Returns:
        The path, absolute, links followed.

    Raises:
        InputError: a file, a folder with something that is no page of samlet's, or one that cannot be written.
    """
    path = writable_path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a new folder to write to")
    if path.is_dir():
        held = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
        others = sorted(set(_listing(path)) - set(_own(path)))
        if held and (others or not overwrite):
            remedy = "Name" if others else "Pass --overwrite (overwrite=True) to replace it, or name"
            shown = ", ".join((others or sorted(held))[:3])
            raise InputError(f"{path} already holds {shown}; nothing was written. {remedy} a new folder")
    check_writable(path)
    return path


def is_page(path: Path) -> bool:
    """Whether a folder is a page that was written."""
    return path.is_dir() and bool(_own(path))


@contextlib.contextmanager
def page_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder whose content takes its place in `path` when the block ends well."""
    path = check_folder(path, overwrite)
    with temporary_folder(path) as temporary:
        yield temporary
        temporary.chmod(0o755)
        if not path.exists():
            temporary.rename(path)
            return
        check_folder(path, overwrite)
        earlier, made = _own(path), _listing(temporary)
        for name in made:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).replace(path / name)
        for name in set(earlier) - set(made):
            (path / name).unlink(missing_ok=True)
        for folder in sorted({path / Path(name).parent for name in earlier} - {path}, reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def write_listing(folder: Path, first: list[str]) -> dict[str, Any]:
    """Write `files.json`: every file with bytes and digest, and what is loaded before the first mask.

    Args:
        folder: a page that is complete but for it.
        first: names of the files of the first load.

    Returns:
        What was written; `version` changes with any file, and the service worker goes by it.
    """
    files: list[dict[str, Any]] = []
    for name in _listing(folder):
        content = (folder / name).read_bytes()
        files.append({"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    version = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
    content_of = {entry["path"]: entry["bytes"] for entry in files}
    listing = {
        "format": FORMAT,
        "version": version,
        "first_load": first,
        "first_load_bytes": sum(content_of[name] for name in first),
        "files": files,
    }
    write_json(folder / FILES, listing)
    return listing


def _listing(folder: Path) -> list[str]:
    """Names of all files, with slashes, hidden ones and what a killed process left aside."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def _own(folder: Path) -> list[str]:
    """Names of the files of an earlier page; none of them climbs out of the folder, whatever its listing says."""
    try:
        content = checked(read_json(folder / FILES), _Listing)
    except InputError:
        return []
    names = [PurePosixPath(entry["path"]) for entry in content["files"]]
    if content["format"] != FORMAT or any(name.is_absolute() or ".." in name.parts or not name.parts for name in names):
        return []
    return [FILES, *map(str, names)]


class _File(TypedDict):
    path: str


class _Listing(TypedDict):
    format: str
    files: list[_File]
