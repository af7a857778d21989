"""COCO's instances: one `instances.json` for all images, with polygons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from samlet.data.masks import decode_rle, rle_area, rle_box, rle_from_segmentation
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.schema import SchemaError, checked
from samlet.io.writing import new_file
from samlet.labels.files import codes_of, remove, scores_of
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks
from samlet.labels.journal import Journal
from samlet.labels.rings import joined, region_rings

_FILE, _JOURNAL = "instances.json", "run.instances.jsonl"
_SAID = ("predicted_iou", "stability_score", "point_coords", "class_name")


class _Line(TypedDict):
    image: str
    height: int
    width: int
    annotations: list[dict]


class _Image(TypedDict):
    id: int
    file_name: str
    height: int
    width: int


class _Category(TypedDict):
    id: int
    name: str


class _Annotation(TypedDict):
    image_id: int
    category_id: int
    segmentation: Any


class _Instances(TypedDict):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class CocoFile:
    """`instances.json`, written when all images are done from a journal that they are appended to.

    A region with holes is one polygon that enters each hole and leaves it over the same line, for COCO's polygons have
    no holes; pycocotools fills it so that they stay empty.

    Args:
        folder: where it lies.
        settings: class and tolerance.
    """

    def __init__(self, folder: Path, settings: LabelSettings) -> None:
        self._folder, self._settings = folder, settings
        self._journal = Journal(folder / _JOURNAL, _Line)

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        return {line["image"] for line in self._journal}

    def write(self, entry: Entry, masks: Masks) -> None:
        """Append one image to the journal."""
        height, width = masks.size
        annotations = []
        for mask in masks:
            code = rle_from_segmentation(mask["segmentation"], height, width)
            regions = region_rings(decode_rle(code), self._settings.tolerance)
            annotations.append(
                {
                    "segmentation": [joined(rings).ravel().tolist() for rings in regions],
                    "area": rle_area(code),
                    "bbox": list(rle_box(code)),
                    **{name: mask[name] for name in _SAID if name in mask},
                }
            )
        self._journal.append({"image": entry.name, "height": height, "width": width, "annotations": annotations})

    def finish(self) -> None:
        """Write `instances.json`, an image at a time, so that it may be larger than memory."""
        names = self._settings.names
        categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(names, start=1)]
        with new_file(self._folder / _FILE) as path, path.open("w", encoding="utf-8") as file:
            file.write('{"info": {"description": "made by samlet"}, "licenses": [], "categories": ')
            file.write(dumps(categories, ensure_ascii=False) + ',\n"images": [')
            for number, line in enumerate(self._journal, start=1):
                image = {"id": number, "file_name": line["image"], "width": line["width"], "height": line["height"]}
                file.write((",\n" if number > 1 else "\n") + dumps(image, ensure_ascii=False))
            file.write('],\n"annotations": [')
            count = 0
            for number, line in enumerate(self._journal, start=1):
                for annotation in line["annotations"]:
                    count += 1
                    kind = 1 + names.index(self._settings.class_of(annotation))
                    annotation.pop("class_name", None)
                    content = {"id": count, "image_id": number, "category_id": kind, "iscrowd": 0, **annotation}
                    file.write((",\n" if count > 1 else "\n") + dumps(content))
            file.write("]}\n")


def _read(folder: Path) -> Iterator[LabelledImage]:
    path = folder / _FILE
    try:
        content: _Instances = checked(read_json(path), _Instances)
    except SchemaError as error:
        raise InputError(f"{path}: {error}; expected COCO's instances JSON") from error
    names = {one["id"]: one["name"] for one in content["categories"]}
    objects: dict[int, list[LabelledObject]] = {image["id"]: [] for image in content["images"]}
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for number, one in enumerate(content["annotations"]):
        image, category = one["image_id"], one["category_id"]
        if image not in sizes or category not in names:
            raise InputError(
                f"{path}: annotation {number} is of image {image}, category {category}; expected one that it lists"
            )
        (code,) = codes_of([one], *sizes[image], f"{path}, annotation {number}")
        objects[image].append(LabelledObject(code, names[category], scores_of(one)))
    for found in sorted(content["images"], key=lambda one: one["file_name"]):
        yield LabelledImage(found["file_name"], sizes[found["id"]], tuple(objects[found["id"]]))


def _clear(folder: Path) -> None:
    for name in (_FILE, _JOURNAL):
        remove(folder / name)


FORMAT = LabelFormat(
    name="coco",
    summary="instances.json for all images, with polygons",
    writer=CocoFile,
    read=_read,
    clear=_clear,
    classes=True,
    polygons=True,
    one_file=True,
)
