"""Masks as files: one module for each format, its writer and its reader together.

A format is found by its place: a module of this package that has a `FORMAT`. No list elsewhere names it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks, Writer

__all__ = [
    "FORMATS",
    "LabelFormat",
    "LabelSettings",
    "LabelledImage",
    "LabelledObject",
    "Masks",
    "Writer",
    "format_of",
    "label_format",
    "read_labels",
]


def _found() -> dict[str, LabelFormat]:
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    formats: list[LabelFormat] = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {one.name: one for one in sorted(formats, key=lambda one: one.name)}


FORMATS: dict[str, LabelFormat] = _found()
"""Every format by its name on the command line."""


def label_format(name: str) -> LabelFormat:
    """A format by its name; raises InputError for an unknown one."""
    if name not in FORMATS:
        raise InputError(f"format {name!r} is unknown; expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def read_labels(folder: str | Path, format: str) -> list[LabelledImage]:
    """What the label files in a folder say.

    Args:
        folder: that `samlet segment --everything` or `samlet label` wrote, or a tool that corrected its files.
        format: see `FORMATS`.

    Raises:
        InputError: an unknown format, no such folder, or a file that is damaged.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with label files")
    return list(label_format(format).read(folder))


def format_of(folder: Path) -> str:
    """The format of the labels in a folder, by what is there.

    Raises:
        InputError: no folder, or none that is known.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with label files")
    try:
        said = json.loads((folder / "run.json").read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):
        said = None
    if isinstance(said, str) and said in FORMATS:
        return said
    for name, sign in (("coco", "instances.json"), ("jsonl", "masks.jsonl"), ("yolo", "data.yaml")):
        if (folder / sign).is_file():
            return name
    for name in ("labelme", "sa1b", "label-map", "png"):
        try:
            if next(iter(FORMATS[name].read(folder)), None) is not None:
                return name
        except InputError:
            continue
    inner = f"; its labels are in {folder / 'labels'}" if (folder / "labels" / "run.json").is_file() else ""
    raise InputError(
        f"{folder} holds no label files that samlet knows{inner}; expected a folder that `samlet label` or `samlet "
        "segment --format NAME` wrote, or name its format (--format)"
    )
