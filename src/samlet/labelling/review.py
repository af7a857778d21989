"""A page to look through labels: every photograph with its masks, small, in a grid."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from samlet.data.datasets import Sample
from samlet.data.folders import data_name
from samlet.data.images import RGBImage
from samlet.data.masks import rle_area
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.progress import followed
from samlet.io.writing import check_output, new_folder
from samlet.labels import LabelledImage, format_of, read_labels
from samlet.labels.label_map import image_of
from samlet.reporting import page as html
from samlet.reporting.overlay import draw_masks

Order = Literal["name", "fewest", "most"]
ORDERS: dict[Order, str] = {
    "name": "by name",
    "fewest": "photographs with the fewest masks first",
    "most": "photographs with the most masks first",
}
"""How the photographs of a page are ordered."""

_OURS = frozenset({"index.html", "pictures/"})
_GREY = 200
_QUALITY = 82
_LEAST_SIDE = 64
_NO_SIZE = (300, 400)


@dataclass(frozen=True)
class Review:
    """A page of labels.

    Attributes:
        page: where it is.
        images: on it.
        masks: on it.
        missing: names of photographs that were not found; their masks are shown on grey.
    """

    page: Path
    images: int
    masks: int
    missing: tuple[str, ...]


def review(
    labels: str | Path,
    *,
    format: str | None = None,
    images: str | Path | None = None,
    out: str | Path | None = None,
    order: Order = "name",
    limit: int | None = None,
    side: int = 480,
    overwrite: bool = False,
    progress: bool = True,
) -> Review:
    """Write a page to look through labels. It needs no network and no server: open `index.html`.

    Args:
        labels: a folder that `samlet label` or `samlet segment` wrote, corrected or not.
        format: one of `samlet.labels.FORMATS`; told by what is in the folder if None.
        images: the folder of the photographs, if they are not where the labels say, beside them, or in `images/`.
        out: a new folder for the page; `LABELS-review` beside the labels if None.
        order: one of `ORDERS`.
        limit: only the first so many photographs, in that order.
        side: longest side of the pictures, pixels.
        overwrite: replace an earlier page.
        progress: show a bar.

    Raises:
        InputError: no labels, of no format that is known, damaged, or without any photograph.
    """
    folder = expanded(labels)
    if order not in ORDERS:
        raise InputError(f"order is {order!r}; expected one of {', '.join(ORDERS)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1")
    if side < _LEAST_SIDE:
        raise InputError(f"side is {side}; expected at least {_LEAST_SIDE} pixels")
    found = read_labels(folder, format or format_of(folder))
    if not found:
        raise InputError(f"{folder} holds no labels of format {format or format_of(folder)}; expected some")
    if order != "name":
        found.sort(key=lambda one: len(one.objects), reverse=order == "most")
    found = found[:limit]
    places = {one.name: photograph_of(one.name, folder, None if images is None else Path(images)) for one in found}
    missing = tuple(name for name, path in places.items() if path is None)
    if len(missing) == len(places):
        raise InputError(
            f"{missing[0]} and all other photographs of {folder} were not found; name their folder (--images)"
        )
    target = folder.with_name(f"{folder.resolve().name}-review") if out is None else expanded(out)
    target = check_output(target, _OURS, overwrite)
    with new_folder(target, _OURS, overwrite) as temporary:
        (temporary / "pictures").mkdir()
        figures = []
        for number, one in enumerate(followed(found, "drawing labels", "image", shown=progress)):
            name = f"pictures/{number:06d}.jpg"
            _drawn(one, places[one.name], side).save(temporary / name, quality=_QUALITY)
            figures.append(html.linked(name, _caption(one)))
        masks = sum(len(one.objects) for one in found)
        text = html.page(f"Labels in {data_name(folder)}", [_summary(found, masks, missing), html.grid(figures)])
        (temporary / "index.html").write_text(text, encoding="utf-8")
    return Review(target / "index.html", len(found), masks, missing)


def photograph_of(name: str, folder: Path, images: Path | None) -> Path | None:
    """Where the photograph of some labels is."""
    file, stem = Path(name).name, Path(name).stem
    if images is not None:
        places = [expanded(images) / name, expanded(images) / file]
    else:
        places = [folder / name, folder / "images" / file, folder.parent / name, folder / f"{stem}.png"]
        places += sorted((folder / "images").glob(f"{stem}.*")) if (folder / "images").is_dir() else []
        places += [place for place in (_named_by_labelme(folder / f"{stem}.json"),) if place is not None]
    return next((path for path in places if path.is_file() and not _is_label_file(path, folder)), None)


def _is_label_file(path: Path, folder: Path) -> bool:
    """Whether it is no photograph but labels, a label map of the photograph's name among them."""
    return path.suffix.lower() in (".json", ".txt") or (path.parent == folder and image_of(path) is not None)


def _named_by_labelme(path: Path) -> Path | None:
    try:
        return path.parent / json.loads(path.read_text(encoding="utf-8"))["imagePath"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _drawn(one: LabelledImage, path: Path | None, side: int) -> Image.Image:
    """The photograph with its masks, numbered as in the file; on grey where it cannot be read or has another size."""
    size = one.size if all(one.size) else None  # which files without a mask may not say
    image: RGBImage = np.full((*(size or _NO_SIZE), 3), _GREY, np.uint8)
    if path is not None:
        with contextlib.suppress(InputError):
            read = Sample(path, size=size).image()
            image = read if size in (None, read.shape[:2]) else image
    picture = Image.fromarray(draw_masks(image, [found.rle for found in one.objects], labels=len(one.objects) > 1))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _caption(one: LabelledImage) -> str:
    """Name, number of masks, classes where there are several, and how much of the picture they cover at most."""
    count = len(one.objects)
    masks = f"{count} mask{'s' * (count != 1)}"
    classes = sorted({found.class_name for found in one.objects})
    named = f" ({', '.join(classes[:4])}{', …' * (len(classes) > 4)})" if len(classes) > 1 else ""
    areas = [rle_area(found.rle) / max(1, one.size[0] * one.size[1]) for found in one.objects]
    sizes = f", {min(areas):.1%} to {max(areas):.1%} of the picture" if areas else ""
    return f"{one.name}: {masks}{named}{sizes}"


def _summary(found: Sequence[LabelledImage], masks: int, missing: Sequence[str]) -> str:
    empty = sum(not one.objects for one in found)
    lines = [f"{len(found)} photographs, {masks} masks, {masks / len(found):.1f} a photograph."]
    if empty:
        lines.append(f"{empty} photographs have no mask.")
    if missing:
        lines.append(f"{len(missing)} photographs were not found and are grey, the first {missing[0]}.")
    return f"<p>{html.text(' '.join(lines))} A click shows a picture alone.</p>"
