"""Annotated and plain collections of photographs behind one interface, read one image at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samlet.data.images import EXTENSIONS, find_images
from samlet.data.masks import RLE, bounding_box, decode_rle, interior_point, rle_from_segmentation
from samlet.errors import InputError


@dataclass(frozen=True)
class Annotation:
    """One true mask and its prompts.

    Attributes:
        rle: the mask, COCO RLE.
        point: x, y inside the mask, pixels of the original image.
        box: x0, y0, x1, y1 around the mask, pixels of the original image.
    """

    rle: RLE
    point: tuple[float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """A photograph and what is known about it."""

    path: Path
    annotations: tuple[Annotation, ...] = field(default=())


@dataclass(frozen=True)
class Dataset:
    """Photographs in a fixed order.

    Attributes:
        path: what the user named.
        kind: `sa1b`, `coco` or `images`.
    """

    path: Path
    kind: str
    _entries: tuple[tuple[Path, Any], ...]

    @property
    def size(self) -> int:
        """Number of photographs."""
        return len(self._entries)

    @property
    def annotated(self) -> bool:
        """Whether it brings true masks."""
        return self.kind != "images"

    def __iter__(self) -> Iterator[Sample]:
        for path, source in self._entries:
            if self.kind == "sa1b":
                yield Sample(path, _sa1b_annotations(source))
            elif self.kind == "coco":
                yield Sample(path, _coco_annotations(*source))
            else:
                yield Sample(path)

    def head(self, limit: int | None) -> Dataset:
        """The first `limit` photographs."""
        return Dataset(self.path, self.kind, self._entries[:limit])


def open_dataset(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Open an SA-1B folder, a COCO JSON or a plain folder of images, told apart by content.

    Args:
        path: folder of `ID.jpg|png` + `ID.json` (SA-1B), COCO instances JSON, or folder of images.
        images: for COCO: where the images are; `images/` beside the JSON if None.

    Raises:
        InputError: none of these is there, or it is damaged.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".json":
        return _open_coco(path, Path(images) if images is not None else path.parent / "images")
    if path.is_file():
        raise InputError(f"{path} is a file; expected an SA-1B folder, a COCO JSON, or a folder of images")
    found = find_images(path)
    pairs = tuple((p, p.with_suffix(".json")) for p in found if p.with_suffix(".json").is_file())
    if pairs:
        return Dataset(path, "sa1b", pairs)
    return Dataset(path, "images", tuple((p, None) for p in found))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or "annotations" not in content:
        raise InputError(f"{path} has no 'annotations'; expected SA-1B or COCO instances JSON")
    return content


def _annotation(rle: RLE, point: Any = None) -> Annotation:
    mask = decode_rle(rle)
    x, y, width, height = bounding_box(mask)
    if point is None:
        point = interior_point(mask)
    return Annotation(rle, (float(point[0]), float(point[1])), (x, y, x + width, y + height))


def _sa1b_annotations(path: Path) -> tuple[Annotation, ...]:
    found = []
    for entry in _read(path)["annotations"]:
        try:
            height, width = entry["segmentation"]["size"]
            rle = rle_from_segmentation(entry["segmentation"], height, width)
            found.append(_annotation(rle, (entry.get("point_coords") or [None])[0]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} has a damaged annotation: {error!r}; expected SA-1B's layout") from error
    return tuple(found)


def _open_coco(path: Path, images: Path) -> Dataset:
    content = _read(path)
    if not images.is_dir():
        raise InputError(f"{images} is not a folder; name the folder of the images of {path.name} with --images")
    by_image: dict[Any, list[Any]] = defaultdict(list)
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            by_image[entry["image_id"]].append(entry["segmentation"])
    entries = []
    for image in content.get("images", []):
        if by_image[image["id"]]:
            source = (by_image[image["id"]], image["height"], image["width"])
            entries.append((images / image["file_name"], source))
    if not entries:
        raise InputError(f"{path} annotates no image; expected COCO instances")
    if not entries[0][0].is_file():
        kinds = "/".join(sorted(EXTENSIONS))
        raise InputError(f"{entries[0][0]} is missing; expected the images ({kinds}) of {path.name} there")
    return Dataset(path, "coco", tuple(sorted(entries, key=lambda entry: entry[0])))


def _coco_annotations(segmentations: list[Any], height: int, width: int) -> tuple[Annotation, ...]:
    codes = (rle_from_segmentation(s, height, width) for s in segmentations)
    return tuple(_annotation(rle) for rle in codes if decode_rle(rle).any())
