"""The folder of label files: whether a run may begin or continue there, and how it is emptied."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from samlet.errors import InputError
from samlet.io.writing import check_writable
from samlet.labels import FORMATS, LabelFormat
from samlet.runs.folder import LOCK, check_same, read_recipe

RECIPE, FAILURES, OVERLAYS, COUNTS = "run.json", "failures.json", "overlays", "run.counts.jsonl"
"""What stands there beside the label files."""


def check_folder(out: Path, recipe: dict[str, Any], overwrite: bool) -> None:
    """Refuse a folder that holds something else, or a run that this one cannot continue."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder to write to")
    check_writable(out)
    if overwrite and (out / RECIPE).is_file():
        return
    found = read_recipe(out / RECIPE)
    if found is not None:
        check_same(found, recipe, out)
    elif held := sorted(entry.name for entry in out.iterdir() if entry.name != LOCK) if out.is_dir() else []:
        raise InputError(f"{out} already holds {', '.join(held[:3])}; nothing was written. Name a new folder")


def clear_folder(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    shutil.rmtree(out / OVERLAYS, ignore_errors=True)
    for layout in _earlier(out / RECIPE):
        layout.clear(out)
    for name in (FAILURES, RECIPE, COUNTS):
        (out / name).unlink(missing_ok=True)


def _earlier(recipe: Path) -> list[LabelFormat]:
    """The format of an earlier run, if there was one."""
    found: dict[str, Any] | None = None
    with contextlib.suppress(InputError):  # damaged, which is why it is written anew
        found = read_recipe(recipe)
    name = (found or {}).get("format")
    return [FORMATS[name]] if isinstance(name, str) and name in FORMATS else []
