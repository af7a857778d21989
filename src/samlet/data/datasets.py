"""Annotated and plain collections of photographs behind one interface, read one image at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samlet.data.images import find_images
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
        without_masks: photographs beside them that have no annotations and are left out.
    """

    path: Path
    kind: str
    _entries: tuple[tuple[Path, Any], ...]
    without_masks: int = 0

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
                yield Sample(path, _annotations(str(source), _read(source)["annotations"], None))
            elif self.kind == "coco":
                entries, height, width = source
                yield Sample(path, _annotations(f"{self.path} ({path.name})", entries, (height, width)))
            else:
                yield Sample(path)

    def shuffled(self, seed: int) -> Dataset:
        """The same photographs in a random order."""
        order = np.random.default_rng(seed).permutation(self.size)
        return Dataset(self.path, self.kind, tuple(self._entries[i] for i in order), self.without_masks)

    def head(self, limit: int | None) -> Dataset:
        """The first `limit` photographs."""
        return Dataset(self.path, self.kind, self._entries[:limit], self.without_masks)


def open_dataset(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Open an SA-1B folder, a COCO JSON or a plain folder of images, told apart by content.

    Args:
        path: folder of `ID.jpg|png` + `ID.json` (SA-1B), COCO instances JSON, or folder of images.
        images: where the images are, if not beside their `ID.json` or, for COCO, in `images/` beside the JSON.

    Raises:
        InputError: none of these is there, or it is damaged.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".json":
        return _open_coco(path, Path(images) if images is not None else path.parent / "images")
    if path.is_file():
        raise InputError(f"{path} is a file; expected an SA-1B folder, a COCO JSON, or a folder of images")
    if images is not None:
        return _open_apart(path, Path(images))
    found = find_images(path)
    pairs = tuple((p, p.with_suffix(".json")) for p in found if _is_sidecar(p.with_suffix(".json")))
    if pairs:
        return Dataset(path, "sa1b", pairs, without_masks=len(found) - len(pairs))
    return Dataset(path, "images", tuple((p, None) for p in found))


def _open_apart(path: Path, images: Path) -> Dataset:
    """SA-1B's `ID.json` in one folder, the images in another."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; expected an SA-1B folder, a COCO JSON, or a folder of images")
    found = find_images(images)
    pairs = tuple((p, path / f"{p.stem}.json") for p in found if _is_sidecar(path / f"{p.stem}.json"))
    if not pairs:
        raise InputError(f"{path} holds no ID.json for any of the {len(found)} images in {images}; name their folder")
    return Dataset(path, "sa1b", pairs, without_masks=len(found) - len(pairs))


def plain_images(path: str | Path) -> Dataset:
    """A folder of images, annotations or not."""
    return Dataset(Path(path), "images", tuple((p, None) for p in find_images(path)))


def _is_sidecar(path: Path) -> bool:
    """Whether a file beside an image holds annotations."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"annotations"' in file.read() if path.stat().st_size < 1 << 20 else True


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or "annotations" not in content:
        raise InputError(f"{path} has no 'annotations'; expected SA-1B or COCO instances JSON")
    return content


def _annotation(rle: RLE, point: Any = None) -> Annotation | None:
    """An annotation of a mask; None for an empty mask, which no prompt can point at."""
    mask = decode_rle(rle)
    x, y, width, height = bounding_box(mask)
    if not width:
        return None
    if point is None or not (0 <= point[0] < mask.shape[1] and 0 <= point[1] < mask.shape[0]):
        point = interior_point(mask)
    return Annotation(rle, (float(point[0]), float(point[1])), (x, y, x + width, y + height))


def _annotations(name: str, entries: list[Any], size: tuple[int, int] | None) -> tuple[Annotation, ...]:
    """Annotations of one image; `size` (height, width) where the entries do not bring their own."""
    found = []
    for number, entry in enumerate(entries):
        try:
            segmentation = entry["segmentation"]
            if isinstance(segmentation, list):
                segmentation = [polygon for polygon in segmentation if len(polygon) >= 6]
                if not segmentation:
                    continue
            height, width = size or segmentation["size"]
            rle = rle_from_segmentation(segmentation, height, width)
            annotation = _annotation(rle, (entry.get("point_coords") or [None])[0])
        except Exception as error:  # pycocotools raises bare ones
            raise InputError(
                f"{name}: annotation {number} is damaged: {error!r}; expected a polygon or an RLE"
            ) from error
        if annotation is not None:
            found.append(annotation)
    return tuple(found)


def _open_coco(path: Path, images: Path) -> Dataset:
    content = _read(path)
    if not images.is_dir():
        raise InputError(f"{images} is not a folder; name the folder of the images of {path.name} with --images")
    by_image: dict[Any, list[Any]] = defaultdict(list)
    entries = []
    try:
        for entry in content["annotations"]:
            if not entry.get("iscrowd"):
                by_image[entry["image_id"]].append(entry)
        for image in content["images"]:
            if by_image[image["id"]]:
                source = (by_image[image["id"]], image["height"], image["width"])
                entries.append((images / image["file_name"], source))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not COCO instances JSON: {error!r} is missing or misplaced") from error
    if not entries:
        raise InputError(f"{path} annotates no image; expected COCO instances")
    if not any(image.is_file() for image, _ in entries):
        raise InputError(
            f"{entries[0][0]} and all other images of {path.name} are missing; name their folder (--images)"
        )
    return Dataset(path, "coco", tuple(sorted(entries, key=lambda entry: entry[0])))
