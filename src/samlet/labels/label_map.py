"""One map of labels from the masks of an image, `ID.png`: 16 bits, no overlaps, 0 for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from samlet.data.masks import decode_rle, encode_rle, rle_from_segmentation
from samlet.data.planes import read_plane
from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.names import escaped, unescaped
from samlet.labels.files import FilePerImage
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks

_MOST = 65535
_NAME = "image"
_MOST_WORK = 1 << 36  # pixels of all masks of one map


def label_map(masks: Iterable[dict[str, Any]], height: int, width: int) -> NDArray[np.uint16]:
    """(height, width): number k + 1 where mask k of the list lies; where several do, that of the smallest.

    Args:
        masks: dictionaries with `segmentation` (RLE, polygons or an array) and `area`.
        height: of the image, pixels.
        width: of the image, pixels.

    Raises:
        InputError: more masks than 16 bits can number.
    """
    masks = list(masks)
    if len(masks) > _MOST:
        raise InputError(f"{len(masks)} masks do not fit a label map of 16 bits; expected at most {_MOST}")
    labels = np.zeros((height, width), np.uint16)
    for number in sorted(range(len(masks)), key=lambda k: -masks[k]["area"]):
        given = masks[number]["segmentation"]
        code = rle_from_segmentation(given, height, width) if isinstance(given, dict | list) else encode_rle(given)
        labels[decode_rle(code)] = number + 1
    return labels


def write_label_map(labels: NDArray[np.uint16], path: Path, image: str = "") -> None:
    """Write a PNG of one channel and 16 bits, which remembers its image's name."""
    about = PngInfo()
    about.add_text(_NAME, escaped(image))
    Image.fromarray(labels).save(path, format="png", pnginfo=about)


def image_of(path: Path) -> str | None:
    """The name of the image that a label map was written for; None if samlet did not write it."""
    try:
        with Image.open(path, formats=["PNG"]) as found:
            name = getattr(found, "text", {}).get(_NAME)
            return None if name is None else unescaped(str(name))
    except Exception:  # a damaged byte leads the reader anywhere
        return None


class LabelMaps(FilePerImage):
    """One `ID.png` for each image."""

    def _found(self) -> Iterator[tuple[str, str]]:
        return ((path.stem, name) for path, name in _maps(self.folder))

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one `ID.png`; raises InputError where two images would share it."""
        labels = label_map(masks, *masks.size)
        self._replace(f"{self._claim(entry, '.png')}.png", lambda path: write_label_map(labels, path, entry.name))


def _write(folder: Path, _: LabelSettings) -> LabelMaps:
    return LabelMaps(folder)


def _maps(folder: Path) -> Iterator[tuple[Path, str]]:
    """The maps of a folder that samlet wrote, and their images."""
    named = ((path, image_of(path)) for path in sorted(folder.glob("*.png")))
    return ((path, name) for path, name in named if name is not None)


def _read(folder: Path) -> Iterator[LabelledImage]:
    for path in sorted(folder.glob("*.png")):
        labels, name = read_plane(path, str(path)), image_of(path)
        if name is None:
            continue
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise InputError(f"{path} has {labels.ndim} axes of {labels.dtype}; expected a PNG of one channel")
        present = np.unique(labels[labels > 0])
        if len(present) * labels.size > _MOST_WORK:
            raise InputError(f"{path} has {len(present)} labels on {labels.size} pixels; expected fewer")
        codes = [encode_rle(labels == number) for number in present]
        yield LabelledImage(name, (labels.shape[0], labels.shape[1]), tuple(LabelledObject(code) for code in codes))


def _clear(folder: Path) -> None:
    for path, _ in _maps(folder):
        path.unlink()


FORMAT = LabelFormat(
    name="label-map",
    summary="ID.png of 16 bits, number k + 1 where mask k lies, the smallest on top (of one image: labels.png)",
    writer=_write,
    read=_read,
    clear=_clear,
)
