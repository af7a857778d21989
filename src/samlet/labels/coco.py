"""COCO's instances: one `instances.json` for all images, with polygons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samlet.data.masks import decode_rle, rle_area, rle_box, rle_from_segmentation
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.jsons import dumps
from samlet.io.writing import new_file
from samlet.labels.files import remove
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks
from samlet.labels.journal import Journal
from samlet.labels.rings import joined, region_rings

_FILE, _JOURNAL = "instances.json", "run.instances.jsonl"
_SCORES = ("predicted_iou", "stability_score", "point_coords")


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
        self._journal = Journal(folder / _JOURNAL)

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
                    **{name: mask[name] for name in _SCORES if name in mask},
                }
            )
        self._journal.append({"image": entry.name, "height": height, "width": width, "annotations": annotations})

    def finish(self) -> None:
        """Write `instances.json`, an image at a time, so that it may be larger than memory."""
        category = {"id": 1, "name": self._settings.class_name, "supercategory": ""}
        with new_file(self._folder / _FILE) as path, path.open("w", encoding="utf-8") as file:
            file.write('{"info": {"description": "made by samlet"}, "licenses": [], "categories": [')
            file.write(dumps(category, ensure_ascii=False) + '],\n"images": [')
            for number, line in enumerate(self._journal, start=1):
                image = {"id": number, "file_name": line["image"], "width": line["width"], "height": line["height"]}
                file.write((",\n" if number > 1 else "\n") + dumps(image, ensure_ascii=False))
            file.write('],\n"annotations": [')
            count = 0
            for number, line in enumerate(self._journal, start=1):
                for annotation in line["annotations"]:
                    count += 1
                    content = {"id": count, "image_id": number, "category_id": 1, "iscrowd": 0, **annotation}
                    file.write((",\n" if count > 1 else "\n") + dumps(content))
            file.write("]}\n")


def _read(folder: Path) -> Iterator[LabelledImage]:
    path = folder / _FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        objects: dict[Any, list[LabelledObject]] = {image["id"]: [] for image in content["images"]}
        sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in content["images"]}
        for one in content["annotations"]:
            code = rle_from_segmentation(one["segmentation"], *sizes[one["image_id"]])
            objects[one["image_id"]].append(LabelledObject(code, names[one["category_id"]]))
        images = sorted(content["images"], key=lambda image: image["file_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error!r}; expected COCO's instances JSON") from error
    for image in images:
        yield LabelledImage(image["file_name"], sizes[image["id"]], tuple(objects[image["id"]]))


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
)
