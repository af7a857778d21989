"""Which files of a folder are photographs, and why the others are not: one rule for every command."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from samlet.data.formats import EXTENSIONS, allowed_formats
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.remarks import remark, shortened

_MASK_ENDINGS = ("_mask", "-mask", "_masks", "-masks", "_seg", "-seg", "_label", "-label", "_labels", "_gt", "-gt")
_LOSSLESS = (".png", ".apng", ".tif", ".tiff", ".bmp", ".gif")  # what masks are kept in
_FLAT = 0.9  # share of pixels alike to their left neighbour, from which a picture of one channel is a mask
_DOCUMENTS = frozenset({".md", ".txt", ".json", ".csv", ".xml", ".yaml", ".yml", ".html", ".pdf"})
_SYSTEM = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        images: the photographs, in the order of their names.
        passed_over: why each other file, or hidden folder as a whole, is none; by path.
    """

    images: tuple[Path, ...]
    passed_over: dict[Path, str]

    def without(self, used: Collection[Path]) -> Survey:
        """The same, but for files that are used in another way, as annotations."""
        return Survey(self.images, {path: why for path, why in self.passed_over.items() if path not in used})

    def tell(self, folder: Path) -> None:
        """One remark for all that was passed over, unless it is documents alone, which nobody takes for photographs."""
        if all(path.suffix.lower() in _DOCUMENTS for path in self.passed_over):
            return
        groups: dict[str, list[str]] = {}
        for path, reason in self.passed_over.items():
            groups.setdefault(reason, []).append(path.relative_to(folder).as_posix())
        said = "; ".join(f"{shortened(names)}: {reason}" for reason, names in groups.items())
        remark(f"{folder}: {len(self.images)} photographs, {len(self.passed_over)} passed over ({said})")


def candidates(folder: str | Path) -> tuple[list[Path], dict[Path, str]]:
    """All files of a folder and its subfolders that end as photographs do, sorted; and the others, with the reason.

    Raises:
        InputError: no such folder.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of images")
    readable = "HEIF" in allowed_formats()
    found: list[Path] = []
    others: dict[Path, str] = {}
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in sorted(folders):
            if name.startswith(".") or name in _SYSTEM:
                folders.remove(name)
                others[Path(root) / name] = "a hidden folder"
            elif (Path(root) / name).is_symlink():
                others[Path(root) / name] = "a link to a folder, which is not followed"
        for name in files:
            path = Path(root) / name
            if name.startswith("."):
                others[path] = "a hidden file"
            elif path.suffix.lower() not in EXTENSIONS:
                others[path] = "its name does not end as a photograph's"
            elif path.suffix.lower() in (".heic", ".heif", ".hif") and not readable:
                others[path] = "HEIC, which needs pip install 'samlet[heif]'"
            else:
                found.append(path)
    return sorted(found), dict(sorted(others.items()))


def survey(folder: str | Path) -> Survey:
    """The photographs of a folder and its subfolders.

    Passed over are hidden files and folders; files whose names do not end as photographs' do; masks, which are pictures
    of one channel and few edges under the name of a photograph, also in another subfolder, or under its name with
    `_mask` and the like; and, of pictures of one name in one folder, all but the first.

    Raises:
        InputError: no such folder, or no photograph in it.
    """
    folder = expanded(folder)
    found, others = candidates(folder)
    doubtful = _doubtful(found, folder)
    images = tuple(path for path in found if path not in doubtful)
    passed_over = {**others, **doubtful}
    if not images:
        kinds = ", ".join(sorted(EXTENSIONS))
        seen = f" (passed over: {shortened([p.name for p in passed_over], 3)})" if passed_over else ""
        raise InputError(f"{folder} holds no images{seen}; expected files that end in {kinds}")
    return Survey(images, passed_over)


def data_name(images: str | Path | Sequence[Path]) -> str:
    """What to call photographs: as their folder, where they come from one."""
    return Path(images).resolve().name if isinstance(images, str | Path) else "photographs"


def find_images(folder: str | Path) -> list[Path]:
    """The photographs of a folder; see `survey`. A remark names what was passed over.

    Raises:
        InputError: as `survey`.
    """
    found = survey(folder)
    found.tell(expanded(folder))
    return list(found.images)


def _doubtful(found: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Files that end as photographs do, but are none, or copies."""
    by_stem: dict[str, list[Path]] = {}
    for path in found:
        by_stem.setdefault(path.stem.lower(), []).append(path)
    doubtful: dict[Path, str] = {}
    for path in found:
        if path.suffix.lower() not in _LOSSLESS:
            continue
        stem = path.stem.lower()
        named = next((stem.removesuffix(end) for end in _MASK_ENDINGS if stem.endswith(end)), None)
        others = [
            one for one in by_stem[stem] if one != path and (one.parent != path.parent or one.suffix != path.suffix)
        ]
        if named and named in by_stem:
            doubtful[path] = f"taken for a mask of {by_stem[named][0].relative_to(folder).as_posix()}"
        elif any(not _is_map(one) for one in others) and _is_map(path):
            doubtful[path] = f"taken for a mask of {others[0].relative_to(folder).as_posix()}"
    for paths in by_stem.values():
        places: dict[Path, Path] = {}
        for path in sorted(paths, key=lambda one: (one.suffix.lower() in _LOSSLESS, one)):
            if path in doubtful:
                continue
            first = places.setdefault(path.parent, path)
            if first != path and first.stem == path.stem:
                doubtful[path] = f"has the name of {first.name}, which is used; rename it if it is another picture"
    return doubtful


def _is_map(path: Path) -> bool:
    """Whether a picture looks like a mask: one channel, and mostly flat."""
    if path.suffix.lower() not in _LOSSLESS:
        return False
    try:
        with Image.open(path, formats=allowed_formats()) as image:
            if len(image.getbands()) != 1:
                return False
            values = np.asarray(image)
    except Exception:  # reading it as a photograph will say what is wrong with it
        return False
    return values.ndim == 2 and values.size > 0 and bool((values[:, 1:] == values[:, :-1]).mean() >= _FLAT)
