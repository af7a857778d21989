"""Writing so that nothing is ever half-written or silently replaced."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.paths import expanded

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MODEL_FILES = frozenset(
    {
        "config.json",
        "model.safetensors",
        "provenance.json",
        "comparison.png",
        "errors.png",
        "losses.png",
        "widths.png",
        "report.md",
    }
)
"""What a folder of our own making may hold: a model, native or for transformers, and a report."""

RUN_FOLDER = "run"
"""Inside the folder of a model: what the run that made it keeps, checkpoints and logs."""

TEMPORARY = ".samlet-"
"""How names of what is being written begin."""
_VIRTUAL = (Path("/proc"), Path("/sys"))  # where nothing can be made, whatever their permissions say
_LONGEST_NAME, _LONGEST_PATH = 255, 4000  # bytes that file systems allow
_ROOM = 60  # bytes of the names that are made inside
_SHOWN_NAME = 40  # characters of a folder's name that its temporary one begins with

RESULT_FILES = frozenset({"masks.json", "overlay.png", "labels.png", "masks/", "labels/"})
"""What a folder with the masks of one image holds; a name that ends with a slash is a folder of PNG files alone, or of
label files."""


def check_output(path: Path, ours: frozenset[str], overwrite: bool = False, run_folder: bool = False) -> Path:
    """Refuse an output folder that holds something.

    Args:
        path: the folder that will be written.
        ours: names of the files that we write; a folder that holds nothing else may be replaced.
            A name that ends with a slash is a folder of PNG, ONNX or label files.
        overwrite: replace such a folder.
        run_folder: a run may stand there, alone or beside a model; whether it may be continued is not asked here.

    Returns:
        The path, absolute, links followed.

    Raises:
        InputError: the path is a file, holds something else, or cannot be written.
    """
    path = writable_path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a new folder to write to")
    held = _held(path, run_folder) if path.is_dir() else set()
    replaceable = held <= ours and all(name.endswith("/") or (path / name).is_file() for name in held)
    if held and not (replaceable and overwrite):
        remedy = "Pass --overwrite (overwrite=True) to replace it, or name" if replaceable else "Name"
        shown = ", ".join(sorted(held)[:3])
        raise InputError(f"{path} already holds {shown}; nothing was written. {remedy} a new folder")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Refuse a path below which nothing can be made.

    Raises:
        InputError: the nearest folder that is there cannot be written to.
    """
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    virtual = any(existing == root or existing.is_relative_to(root) for root in _VIRTUAL)
    if not existing.is_dir() or virtual or not os.access(existing, os.W_OK):
        raise InputError(f"{path} cannot be written: {existing} is not a folder that this user may write to")
    try:
        tempfile.TemporaryFile(dir=existing).close()  # without a name where the system can: a kill leaves nothing
    except OSError as error:  # a disk that is read-only, or full
        raise InputError(
            f"{path} cannot be written: {existing} is not a folder that this user may write to "
            f"({error.strerror or error}); name another one"
        ) from error


def writable_path(path: Path) -> Path:
    """A path to write to, absolute, links followed.

    Raises:
        InputError: no file system has such a name.
    """
    try:
        found = expanded(path).resolve()
        _check_name(found)
        found.exists()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{str(path)[:200]} cannot be written: {reason}; name another folder") from error
    return found


def _check_name(path: Path) -> None:
    long = next((part for part in path.parts if len(os.fsencode(part)) > _LONGEST_NAME), None)
    if long is not None or len(os.fsencode(path)) > _LONGEST_PATH - _ROOM:
        raise InputError(f"{str(path)[:200]}… is too long a name for a file; name another folder")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a path into errors of the system that name none, as those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _held(path: Path, run_folder: bool) -> set[str]:
    """What stands in a folder, without a run and without what a killed process left half-written."""
    run = {RUN_FOLDER} if run_folder and _is_run(path / RUN_FOLDER) else set()
    return {_name(entry) for entry in path.iterdir() if not entry.name.startswith(TEMPORARY)} - run


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, or of one that was killed before it wrote anything."""
    if (folder / "run.json").is_file():
        return True
    return folder.is_dir() and all(entry.name.startswith(TEMPORARY) for entry in folder.iterdir())


def _name(entry: Path) -> str:
    """The name of a file or folder, with a slash behind it for one of PNG, JPEG, ONNX or label files, maybe ours."""
    if entry.is_symlink() or not entry.is_dir():
        return entry.name
    kinds = {inside.suffix if inside.is_file() else "" for inside in entry.iterdir()}
    return (
        f"{entry.name}/"
        if kinds <= {".png"} or kinds <= {".jpg"} or kinds == {".onnx"} or _labels(entry)
        else entry.name
    )


def _labels(folder: Path) -> bool:
    """Whether a folder is one of label files that we wrote."""
    try:
        found = read_json(folder / "run.json")
    except InputError:
        return False
    return isinstance(found, dict) and "format" in found


def _remove(entry: Path) -> None:
    """Remove a file, or a folder if one is there."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def remove_temporaries(folder: Path, *kept: str) -> None:
    """Remove what killed processes left half-written in a folder that no other one works in."""
    for entry in folder.glob(f"{TEMPORARY}*"):
        if entry.name not in kept:
            with contextlib.suppress(OSError):
                _remove(entry)


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[bool]:
    """Lock a folder while the block runs, if no other process has; the system unlocks it when a process is killed.

    Yields:
        Whether it was free. True on systems without such locks.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary folders whose process was killed; nothing on systems without locks of folders."""
    if fcntl is None or not folder.is_dir():
        return
    for entry in folder.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError), _in_use(entry) as free:
            if free and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A folder on the disk of `path`, in it or beside it, that is gone when the block ends.

    So are folders above `path` that were made for it, if nothing was written there, and what killed processes left that
    wrote the same.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{TEMPORARY}{path.name[:_SHOWN_NAME]}."
    for folder in (path.parent, path):
        _remove_abandoned(folder, prefix)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path if path.is_dir() else path.parent))
    try:
        with _in_use(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()  # which a folder with something in it refuses


@contextlib.contextmanager
def new_folder(path: Path, ours: frozenset[str], overwrite: bool = False, run_folder: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well and is removed when it does not.

    Files are renamed into `path` one by one, so that an empty mount point or a linked folder can be written to.

    Args:
        path: the folder to write.
        ours: see `check_output`, which is asked again before anything is replaced.
        overwrite: see `check_output`.
        run_folder: see `check_output`; the run stays.
    """
    path = check_output(path, ours, overwrite, run_folder)
    with temporary_folder(path) as temporary:
        with naming(path):
            yield temporary
        if not path.exists():
            temporary.chmod(0o755)
            temporary.rename(path)
            return
        made = {_name(entry) for entry in temporary.iterdir()}
        others = _held(path, run_folder)
        if others and not (overwrite and others <= ours):
            raise InputError(f"{path} was filled by something else meanwhile; nothing was written. Name a new folder")
        for name in sorted(made):
            if name.endswith("/"):
                _remove(path / name)
            (temporary / name).replace(path / name)
        for name in others - made:
            _remove(path / name)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file name beside `path`, renamed to it when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file that everybody may read."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes for the owner only


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read, atomically."""
    with new_file(path) as temporary:
        temporary.write_text(dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
