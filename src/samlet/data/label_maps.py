"""Complete segmentations as maps of labels, as the Berkeley Segmentation Data Set has them.

`ID.jpg` goes with `ID.mat` (its own format: several people's segmentations) or `ID.png` (one map, 8 or 16 bits, 0 for
nothing), in the same folder or in a second one. Every connected region of one label is a mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import io, ndimage

from samlet.data.annotations import Annotation, annotation
from samlet.data.masks import encode_rle
from samlet.data.samples import Sample
from samlet.errors import InputError

_SMALLEST = 0.005  # of the image: smaller regions are slips of the pencil

_FORMATS = ("PNG",)

LabelMap = NDArray[np.integer]
"""(H, W), 0 for nothing."""


class LabelMapSource:
    """Photographs with label maps.

    Args:
        pairs: image and map of each.
    """

    kind = "label maps"
    annotated = True

    def __init__(self, pairs: list[tuple[Path, Path]]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int) -> Sample:
        """One photograph with its annotations."""
        path, label_path = self._pairs[index]
        return Sample(path, regions(read_label_map(label_path)))


def find_pairs(images: list[Path], folder: Path | None = None) -> list[tuple[Path, Path]]:
    """Images that have a map of their name in a folder, or beside them."""
    found = []
    for path in images:
        stem = (path.parent if folder is None else folder) / path.stem
        candidates = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".mat", ".png")]
        match = next((c for c in candidates if c != path and c.is_file() and _may_be_map(c)), None)
        if match is not None:
            found.append((path, match))
    return found


def _may_be_map(path: Path) -> bool:
    """Whether a file has one channel, if it is a picture; else it is a photograph's copy."""
    if path.suffix == ".mat":
        return True
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return len(image.getbands()) == 1
    except (UnidentifiedImageError, OSError):
        return False


def read_label_map(path: Path) -> LabelMap:
    """A map of labels; of several people's in a `.mat` that with the median number of segments.

    Raises:
        InputError: the file is no label map.
    """
    if path.suffix == ".mat":
        try:
            content = io.loadmat(path)["groundTruth"]
            maps = [np.asarray(entry["Segmentation"][0, 0]) for entry in content.ravel()]
        except Exception as error:  # the reader raises whatever a damaged byte leads it to
            raise InputError(f"{path} is no label map: {error!r}; expected BSDS's groundTruth") from error
        maps = [one for one in maps if one.ndim == 2 and np.issubdtype(one.dtype, np.integer)]
        if not maps:
            raise InputError(f"{path} holds no segmentation; expected BSDS's groundTruth")
        maps.sort(key=lambda one: len(np.unique(one)))
        return maps[(len(maps) - 1) // 2]
    try:
        with Image.open(path, formats=_FORMATS) as image:
            labels: Any = np.asarray(image)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"{path} is no label map: {error}; expected a PNG of one channel") from error
    if labels.ndim != 2:
        raise InputError(f"{path} has {labels.ndim} axes; expected a PNG of one channel, a number for each region")
    return labels.astype(np.int64)


def regions(labels: LabelMap) -> tuple[Annotation, ...]:
    """The connected regions of a map, each a mask, from the lowest label up."""
    found = []
    for label in np.unique(labels[labels > 0]):
        pieces, count = ndimage.label(labels == label)
        for piece in range(1, count + 1):
            mask = pieces == piece
            made = annotation(encode_rle(mask)) if mask.sum() >= _SMALLEST * mask.size else None
            if made is not None:
                found.append(made)
    return tuple(found)
