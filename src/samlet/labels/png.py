"""One PNG for each mask, in a folder for each image with `metadata.csv`: what segment-anything's own script writes."""

from __future__ import annotations

import contextlib
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samlet.data.masks import Mask, decode_rle, encode_rle, rle_from_segmentation
from samlet.data.planes import read_plane
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.labels.files import NAMES, NamedByJournal, names_by_stem, remove, scores_of
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks

_TABLE = "metadata.csv"
_LARGEST = 1 << 26  # bytes of a table
_COLUMNS = (
    *("id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h", "point_input_x", "point_input_y", "predicted_iou"),
    *("stability_score", "crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h"),
)


class PngFolders(NamedByJournal):
    """`ID/0.png`, `ID/1.png`, …, white where the mask is, and `ID/metadata.csv`.

    Args:
        folder: where the folders go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda stem: (folder / stem / _TABLE).is_file())

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one folder; raises InputError where two images would share it."""
        stem = self._claim(entry, "")
        height, width = masks.size
        with tempfile.TemporaryDirectory(prefix=".samlet-", dir=self.folder) as temporary:
            made = Path(temporary) / stem
            made.mkdir()
            with (made / _TABLE).open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(_COLUMNS)
                for number, mask in enumerate(masks):
                    code = rle_from_segmentation(mask["segmentation"], height, width)
                    Image.fromarray(decode_rle(code).astype(np.uint8) * 255).save(made / f"{number}.png")
                    point = (mask.get("point_coords") or [["", ""]])[0]
                    crop = mask.get("crop_box") or (0, 0, width, height)
                    scores = mask.get("predicted_iou", ""), mask.get("stability_score", "")
                    table.writerow([number, mask["area"], *mask["bbox"], *point[:2], *scores, *crop])
            remove(self.folder / stem)
            made.rename(self.folder / stem)
        self._record(entry, stem)


def _write(folder: Path, _: LabelSettings) -> PngFolders:
    return PngFolders(folder)


def _read(folder: Path) -> Iterator[LabelledImage]:
    called = names_by_stem(folder)
    for table in sorted(folder.glob(f"*/{_TABLE}")):
        objects: list[LabelledObject] = []
        size = (0, 0)
        for number, scores in _rows(table):
            path = table.parent / f"{number}.png"
            values = read_plane(path, str(path))
            mask: Mask = np.asarray((values if values.ndim == 2 else values[..., :3].max(axis=2)) > 0)
            if objects and mask.shape != size:
                raise InputError(f"{path} has other sides than the masks beside it; expected {size[0]} x {size[1]}")
            size = (mask.shape[0], mask.shape[1])
            objects.append(LabelledObject(encode_rle(mask), scores=scores))
        yield LabelledImage(called.get(table.parent.name, table.parent.name), size, tuple(objects))


def _rows(table: Path) -> list[tuple[int, dict[str, Any]]]:
    """The numbers of the masks that a table lists, and their scores.

    Raises:
        InputError: it is no such table.
    """
    try:
        if table.stat().st_size > _LARGEST:
            raise ValueError(f"it has {table.stat().st_size} bytes")
        with table.open(newline="", encoding="utf-8") as file:
            return [(int(row["id"]), _scores(row)) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read: {error!r}; expected a table with a column id") from error


def _scores(row: dict[str, Any]) -> dict[str, Any]:
    """What a line of the table says beside the number; what is no number is left out."""
    numbers: dict[str, float] = {}
    for name, text in row.items():
        with contextlib.suppress(ValueError, TypeError):
            numbers[name] = float(text)
    click = [numbers.get(name) for name in ("point_input_x", "point_input_y")]
    crop = [numbers.get(f"crop_box_{name}") for name in ("x0", "y0", "w", "h")]
    return scores_of({**numbers, "point_coords": [click], "crop_box": crop})


def _clear(folder: Path) -> None:
    for table in folder.glob(f"*/{_TABLE}"):
        remove(table.parent)
    remove(folder / NAMES)


FORMAT = LabelFormat(
    name="png",
    summary="a folder ID/ for each image with 0.png, 1.png, … and metadata.csv, as segment-anything's script writes",
    writer=_write,
    read=_read,
    clear=_clear,
)
