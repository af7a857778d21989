"""labelme's files: `ID.json` for each image, with a polygon for each region, or a mask where there are holes."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from PIL import Image

from samlet.data.images import current_reading
from samlet.data.masks import RLE, Mask, bounding_box, decode_rle, encode_rle, rle_from_segmentation
from samlet.data.planes import read_plane
from samlet.data.rle import check_size
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.schema import checked
from samlet.labels.files import OUR_FILES, FilePerImage, original, save_frame
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks
from samlet.labels.rings import region_rings

_VERSION = "5.5.0"  # of labelme, whose layout this is
_NAME = "image"  # a key of our own, which labelme keeps


class LabelmeFiles(FilePerImage):
    """`ID.json`, which names the photograph by its path from there.

    A region without holes is a `polygon`. An object with holes is one `mask` shape, exact. Shapes of one object share
    their `group_id`.

    Args:
        folder: where the files go.
        settings: class and tolerance.
    """

    def __init__(self, folder: Path, settings: LabelSettings) -> None:
        super().__init__(folder)
        self._settings = settings

    def _found(self) -> Iterator[tuple[str, str]]:
        return (
            (path.stem, content.get(_NAME) or Path(content["imagePath"]).name) for path, content in _all(self.folder)
        )

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one `ID.json`; raises InputError where two images would share it."""
        stem = self._claim(entry, ".json")
        height, width = masks.size
        photograph = original(entry)
        if photograph is not None:
            start = (self._settings.placed or self.folder).resolve()
            where = Path(os.path.relpath(photograph.resolve(), start)).as_posix()
        else:
            where = f"{stem}.png"
            self._replace(where, lambda path: save_frame(entry, path))
        shapes: list[dict[str, Any]] = []
        for number, mask in enumerate(masks):
            code = rle_from_segmentation(mask["segmentation"], height, width)
            shapes += self._shapes(decode_rle(code), number, self._settings.class_of(mask))
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": where,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
            _NAME: entry.name,
        }
        self._replace(f"{stem}.json", lambda path: path.write_text(dumps(content, indent=1), encoding="utf-8"))

    def _shapes(self, mask: Mask, number: int, class_name: str) -> list[dict[str, Any]]:
        """The shapes of one object."""
        common = {"label": class_name, "group_id": number, "description": "", "flags": {}}
        regions = region_rings(mask, self._settings.tolerance)
        if all(len(rings) == 1 for rings in regions):
            polygons = [rings[0].tolist() for rings in regions]
            return [{**common, "shape_type": "polygon", "points": points, "mask": None} for points in polygons]
        x, y, w, h = bounding_box(mask)
        picture = io.BytesIO()
        Image.fromarray(mask[y : y + h, x : x + w].astype(np.uint8)).save(picture, format="png")
        text = base64.b64encode(picture.getvalue()).decode("ascii")
        corners = [[x, y], [x + w - 1, y + h - 1]]  # labelme counts the last pixel in
        return [{**common, "shape_type": "mask", "points": corners, "mask": text}]


def _all(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each `ID.json` of labelme's with its content."""
    for path in sorted(folder.glob("*.json")):
        if path.name in OUR_FILES:
            continue
        try:
            content = read_json(path)
            if isinstance(content, dict) and "shapes" in content:
                found = checked(content, _Content)
                yield path, {**found, "imagePath": found["imagePath"].replace("\\", "/")}
        except InputError as error:
            said = str(error).removeprefix(f"{path} ")
            raise InputError(
                f"{path} is damaged: {said}; expected labelme's JSON with shapes and imagePath. Mend it, or delete "
                "it to have it made again"
            ) from error


class _Content(TypedDict):
    imagePath: str
    shapes: list


class _Shape(TypedDict):
    label: str
    points: list[tuple[float, float]]
    group_id: NotRequired[int | str | None]
    shape_type: NotRequired[str | None]
    mask: NotRequired[str | None]


class _Size(TypedDict):
    imageHeight: int
    imageWidth: int


def _read(folder: Path) -> Iterator[LabelledImage]:
    for path, content in _all(folder):
        try:
            sides = checked(content, _Size)
            size = sides["imageHeight"], sides["imageWidth"]
            check_size(*size)
            if size[0] * size[1] > (most := current_reading().max_pixels):
                raise InputError(f"has {size[0]} x {size[1]} pixels; expected at most {most}")
            groups: dict[Any, list[_Shape]] = {}
            for number, given in enumerate(content["shapes"]):
                shape: _Shape = checked(given, _Shape, f"shapes[{number}]")
                group = shape.get("group_id")
                groups.setdefault((shape["label"], ("alone", number) if group is None else group), []).append(shape)
            objects = tuple(LabelledObject(_code(shapes, size), label) for (label, _), shapes in groups.items())
        except InputError as error:
            raise InputError(f"{path} cannot be read: {error}; expected polygons and masks of labelme's") from error
        yield LabelledImage(content.get(_NAME) or Path(content["imagePath"]).name, size, objects)


def _code(shapes: list[_Shape], size: tuple[int, int]) -> RLE:
    """The mask of one object."""
    whole = np.zeros(size, bool)
    for shape in shapes:
        whole |= _mask(shape, size)
    return encode_rle(whole)


def _mask(shape: _Shape, size: tuple[int, int]) -> Mask:
    """(H, W) mask of a polygon, a rectangle or a mask."""
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], float).reshape(-1, 2)
    if kind == "polygon":
        return decode_rle(rle_from_segmentation([points.ravel().tolist()], *size))
    if kind not in ("rectangle", "mask") or not len(points):
        raise InputError(f"has a shape of type {kind[:40]!r} and {len(points)} points")
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    if kind == "rectangle":
        return decode_rle(rle_from_segmentation([[x0, y0, x1, y0, x1, y1, x0, y1]], *size))
    whole = np.zeros(size, bool)
    try:
        content = base64.b64decode(shape.get("mask") or "", validate=True)
    except ValueError as error:
        raise InputError(f"has a mask that is no base64 ({error})") from error
    picture = read_plane(content, "a mask of it")
    top, left = round(y0), round(x0)
    inside = (round(y1) + 1 - top, round(x1) + 1 - left)
    if picture.shape != inside or top < 0 or left < 0 or top + inside[0] > size[0] or left + inside[1] > size[1]:
        raise InputError(f"has a mask of shape {picture.shape} for corners that span {inside}")
    whole[top : top + inside[0], left : left + inside[1]] = picture.astype(bool)
    return whole


def _clear(folder: Path) -> None:
    for path, content in _all(folder):
        if _NAME in content:
            path.unlink()
            if content["imagePath"] == f"{path.stem}.png":
                path.with_suffix(".png").unlink(missing_ok=True)


FORMAT = LabelFormat(
    name="labelme",
    summary="ID.json of labelme for each image: polygons, or a mask where an object has holes",
    writer=LabelmeFiles,
    read=_read,
    clear=_clear,
    classes=True,
    polygons=True,
    photographs=True,
)
