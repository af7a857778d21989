"""YOLO's segmentation: `labels/ID.txt` with one polygon a line, `images/` beside it, and `data.yaml`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samlet.data.images import read_image
from samlet.data.masks import decode_rle, rle_from_segmentation
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.documents import parse_json
from samlet.io.jsons import dumps
from samlet.labels.files import NAMES, NamedByJournal, names_by_stem, original, remove, save_frame
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks
from samlet.labels.rings import joined, region_rings

_TAKEN = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # endings that ultralytics opens
_DATA = "data.yaml"
_LARGEST = 1 << 27  # bytes of one file


class YoloFiles(NamedByJournal):
    """`labels/ID.txt` and a copy of the photograph as `images/ID.*`, where its reader looks for it.

    Points are shares of the photograph's width and height. An object is one line and so one polygon: other regions
    and holes are entered and left over the same line.

    Args:
        folder: of the dataset.
        settings: class and tolerance.
    """

    def __init__(self, folder: Path, settings: LabelSettings) -> None:
        super().__init__(folder, lambda stem: (folder / "labels" / f"{stem}.txt").is_file())
        self._settings = settings

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one photograph and its labels; raises InputError where two would share a file."""
        stem = self._claim(entry, ".txt")
        for name in ("images", "labels"):
            (self.folder / name).mkdir(exist_ok=True)
        photograph = original(entry)
        if photograph is not None and photograph.suffix.lower() in _TAKEN:
            ending = photograph.suffix.lower()
            self._replace(f"images/{stem}{ending}", lambda path: shutil.copyfile(photograph, path))
        else:
            self._replace(f"images/{stem}.png", lambda path: save_frame(entry, path))
        height, width = masks.size
        lines = []
        for mask in masks:
            code = rle_from_segmentation(mask["segmentation"], height, width)
            rings = [ring for region in region_rings(decode_rle(code), self._settings.tolerance) for ring in region]
            shares = (joined(rings) / (width, height)).clip(0, 1)
            number = self._settings.names.index(self._settings.class_of(mask))
            lines.append(f"{number} " + " ".join(f"{value:.6g}" for value in shares.ravel()) + "\n")
        self._replace(f"labels/{stem}.txt", lambda path: path.write_text("".join(lines)))
        self._record(entry, stem)

    def finish(self) -> None:
        """Write `data.yaml`."""
        names = [dumps(name, ensure_ascii=False) for name in self._settings.names]  # a JSON text is one in YAML
        listed = "".join(f"  {number}: {name}\n" for number, name in enumerate(names))
        text = f"train: images\nval: images\nnames:\n{listed}"
        self._replace(_DATA, lambda path: path.write_text(text, encoding="utf-8"))


def _read(folder: Path) -> Iterator[LabelledImage]:
    names = _classes(folder / _DATA)
    images = {path.stem: path for path in sorted((folder / "images").glob("*"))}
    called = names_by_stem(folder)
    for path in sorted((folder / "labels").glob("*.txt")):
        if path.stem not in images:
            raise InputError(f"{path} has no photograph {path.stem}.* in {folder / 'images'}; expected one")
        height, width = read_image(images[path.stem]).shape[:2]
        objects = []
        for number, line in enumerate(_text(path).splitlines(), start=1):
            try:
                kind, *values = line.split()
                points = np.array(values, float).reshape(-1, 2) * (width, height)
                code = rle_from_segmentation([points.ravel().tolist()], height, width)
                objects.append(LabelledObject(code, names[int(kind)]))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                said = repr(error)[:200]
                raise InputError(
                    f"{path}, line {number}, cannot be read: {said}; expected a class and x, y of each point"
                ) from error
        yield LabelledImage(called.get(path.stem, images[path.stem].name), (height, width), tuple(objects))


def _text(path: Path) -> str:
    """A text file.

    Raises:
        InputError: it cannot be read, or is larger than any labels are.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; expected a text of YOLO's") from error


def _classes(path: Path) -> dict[int, str]:
    """The names under `names:`, as samlet writes them."""
    try:
        lines = _text(path).split("names:\n", 1)[1].splitlines()
        pairs = [line.strip().split(": ", 1) for line in lines if line.startswith(" ")]
        return {int(number): str(parse_json(name)) if name.startswith('"') else name for number, name in pairs}
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read: {error!r}; expected names: and a line for each class") from error


def _clear(folder: Path) -> None:
    for stem in names_by_stem(folder):
        for path in [folder / "labels" / f"{stem}.txt", *(folder / "images" / f"{stem}{end}" for end in _TAKEN)]:
            path.unlink(missing_ok=True)
    for name in (_DATA, NAMES):
        remove(folder / name)


FORMAT = LabelFormat(
    name="yolo",
    summary="labels/ID.txt with a polygon a line, copies of the photographs in images/, and data.yaml",
    writer=YoloFiles,
    read=_read,
    clear=_clear,
    classes=True,
    polygons=True,
    photographs=True,
)
