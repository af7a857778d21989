"""Complete segmentations as maps of labels, as the Berkeley Segmentation Data Set has them.

`ID.jpg` goes with `ID.mat` (its own format: several people's segmentations) or `ID.png` (one map, 8 or 16 bits, 0 for
nothing), in the same folder or in a second one. Every connected region of one label is a mask.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import io, ndimage

from samlet.data.annotations import Annotation, annotation, other_size
from samlet.data.masks import encode_rle
from samlet.data.planes import read_plane, stored_size
from samlet.data.samples import Sample
from samlet.errors import InputError

_SMALLEST = 0.005  # of the image: smaller regions are slips of the pencil
_MOST_BYTES = 1 << 28  # of the maps of one photograph
_SEEN = 1 << 24  # pixels of a map that is looked at whatever the photograph is
_PACKED = 15  # type of a packed variable in a `.mat` of version 5

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
        labels = read_label_map(label_path)
        if labels.size > _SEEN and (stored := stored_size(path)) != labels.shape:
            return Sample(path, problems=(other_size(path, stored or (0, 0), (labels.shape[0], labels.shape[1])),))
        return Sample(path, regions(labels))


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
    except Image.DecompressionBombError:  # which reading it will say
        return True
    except Exception:  # a damaged byte leads the reader anywhere
        return False


def read_label_map(path: Path) -> LabelMap:
    """A map of labels; of several people's in a `.mat` that with the median number of segments.

    Raises:
        InputError: the file is no label map.
    """
    if path.suffix == ".mat":
        return _read_mat(path)
    labels = read_plane(path, str(path))
    if labels.ndim != 2:
        raise InputError(f"{path} has {labels.ndim} axes; expected a PNG of one channel, a number for each region")
    return labels.astype(np.int64) if labels.dtype != np.uint16 else labels.astype(np.int32)


def _read_mat(path: Path) -> LabelMap:
    try:
        _check_mat(path)
        content = io.loadmat(path)["groundTruth"]
        maps = [np.asarray(entry["Segmentation"][0, 0]) for entry in content.ravel()]
    except Exception as error:  # the reader raises whatever a damaged byte leads it to
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        raise InputError(f"{path} is no label map ({reason}); expected BSDS's groundTruth") from error
    maps = [one for one in maps if one.ndim == 2 and np.issubdtype(one.dtype, np.integer)]
    if not maps:
        raise InputError(f"{path} holds no segmentation; expected BSDS's groundTruth")
    maps.sort(key=lambda one: len(np.unique(one)))
    return maps[(len(maps) - 1) // 2]


def _check_mat(path: Path) -> None:
    """Refuse a file that unpacks to more than the maps of any photograph; MATLAB packs each variable with zlib."""
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"it has {path.stat().st_size} bytes")
    content, place, total = path.read_bytes(), 128, 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, place)
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            total += len(unpacker.decompress(content[place + 8 : place + 8 + size], _MOST_BYTES + 1))
            if total > _MOST_BYTES:
                raise InputError(f"it unpacks to more than {_MOST_BYTES} bytes")
        place += 8 + size


def regions(labels: LabelMap) -> tuple[Annotation, ...]:
    """The connected regions of a map, each a mask, from the lowest label up."""
    found = []
    present, counts = np.unique(labels[labels > 0], return_counts=True)
    least = _SMALLEST * labels.size
    for label in present[counts >= least]:
        pieces, _ = ndimage.label(labels == label)
        sizes = np.bincount(pieces.ravel())
        for piece in np.flatnonzero(sizes[1:] >= least) + 1:
            made = annotation(encode_rle(pieces == piece))
            if made is not None:
                found.append(made)
    return tuple(found)
