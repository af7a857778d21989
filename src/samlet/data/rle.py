"""The one door to pycocotools, which trusts what it is given: a wrong size or count ends the interpreter.

Every mask that was read from a file, by whichever reader, comes through `checked_code`. Sizes are compared with the
photograph's, counts with the size, and coordinates and the way around a polygon are bounded, before anything is
allocated.

Source of the code's layout: COCO's API, `maskApi.c`: counts of pixels in columns, off and on in turns; as text in
groups of five bits, each number from the third on less the one two before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samlet.errors import InputError
from samlet.io.schema import is_number

RLE = dict[str, Any]
"""COCO's compressed run-length code: `size` (height, width) and `counts`, a string."""

MOST_PIXELS = 1 << 30
"""Of one mask. Its own counts, and pycocotools, have 32 bits."""
MOST_CORNERS = 1 << 18
"""Of the polygons of one mask together."""
MOST_POLYGONS = 1 << 13
"""Of one mask."""
MOST_WAY = 1 << 21
"""Pixels that the edges of one mask may be long together: pycocotools walks them in steps of a fifth of a pixel."""
_MOST_LETTERS = 1 << 26
_GROUPS = 7  # of five bits, of a number below 2 ** 32 and its sign
_LEAST_COORDINATES = 6


def checked_code(segmentation: Any, height: int, width: int) -> RLE:
    """A COCO `segmentation` as compressed run-length code.

    Args:
        segmentation: polygons [x0, y0, x1, y1, …], or a dictionary of `size` and `counts`, compressed or not.
        height: of the photograph, pixels.
        width: of the photograph, pixels.

    Raises:
        InputError: it is no mask of such a photograph; the message begins with a verb, for the caller to say of what.
    """
    check_size(height, width)
    if isinstance(segmentation, list):
        return _of_polygons(segmentation, height, width)
    if not isinstance(segmentation, dict):
        raise InputError(f"is a {type(segmentation).__name__}; expected polygons or an RLE")
    if not {"size", "counts"} <= segmentation.keys():
        raise InputError(f"has a segmentation of {_names(segmentation)}; expected size and counts")
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(_is_whole(side) for side in size):
        raise InputError(f"has an RLE of size {repr(size)[:60]}; expected height and width, whole numbers")
    if list(size) != [height, width]:
        raise InputError(f"has an RLE of size {size[0]} x {size[1]}; expected {height} x {width}, the photograph's")
    if isinstance(counts, str | bytes):
        text = _as_bytes(counts)
        _check_sum(numbers_of(text), height, width)
        return {"size": [int(height), int(width)], "counts": text.decode("ascii")}
    if not isinstance(counts, list):
        raise InputError(f"has an RLE whose counts are a {type(counts).__name__}; expected a text or whole numbers")
    wrong = next((one for one in counts if not _is_whole(one) or not 0 <= one <= MOST_PIXELS), None)
    if wrong is not None or None in counts:
        raise InputError(f"has an RLE with {repr(wrong)[:40]} among its counts; expected whole numbers of pixels")
    _check_sum(np.array(counts, np.int64), height, width)
    made = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [int(height), int(width)], "counts": made["counts"].decode("ascii")}


def check_size(height: Any, width: Any) -> None:
    """Refuse sides that no photograph has.

    Raises:
        InputError: they are no whole numbers above 0, or make more than `MOST_PIXELS`.
    """
    if not (_is_whole(height) and _is_whole(width)) or height < 1 or width < 1 or height * width > MOST_PIXELS:
        raise InputError(
            f"is of an image of size {_shown(height)} x {_shown(width)}; expected whole numbers from 1, at most "
            f"{MOST_PIXELS} pixels in all"
        )


def _shown(value: Any) -> str:
    return repr(value)[:40]


def numbers_of(text: bytes) -> NDArray[np.int64]:
    """The counts of a compressed code, (N,).

    Raises:
        InputError: it is none.
    """
    if len(text) > _MOST_LETTERS:
        raise InputError(f"has an RLE of {len(text)} letters; expected at most {_MOST_LETTERS}")
    letters = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(letters):
        return np.zeros(0, np.int64)
    if letters.min() < 0 or letters.max() > 63:
        raise InputError("has an RLE whose counts are no COCO text; expected letters from 0 to o")
    last = (letters & 32) == 0
    if not last[-1]:
        raise InputError("has an RLE that is cut short; expected whole counts")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _GROUPS:
        raise InputError("has an RLE with a count of more than 32 bits; expected pixels of an image")
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    negative = (letters[ends] & 16) != 0
    values[negative] -= 1 << (5 * lengths[negative])
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def _check_sum(counts: NDArray[np.int64], height: int, width: int) -> None:
    if len(counts) and counts.min() < 0:
        raise InputError(f"has an RLE with {counts.min()} among its counts; expected whole numbers of pixels")
    if (found := int(counts.sum())) != height * width:
        raise InputError(f"has an RLE of {found} pixels; expected {height} x {width}")


def _of_polygons(polygons: list[Any], height: int, width: int) -> RLE:
    """The code of polygons that lie in, or not far from, the photograph."""
    if not polygons:
        raise InputError("has no polygon; expected at least one")
    if len(polygons) > MOST_POLYGONS:
        raise InputError(f"has {len(polygons)} polygons; expected at most {MOST_POLYGONS}")
    corners, way = 0, 0.0
    checked = []
    for polygon in polygons:
        if not isinstance(polygon, list | tuple) or len(polygon) < _LEAST_COORDINATES or len(polygon) % 2:
            raise InputError("has a polygon that is none; expected x0, y0, x1, y1, … of at least three corners")
        corners += len(polygon) // 2
        if corners > MOST_CORNERS:
            raise InputError(f"has polygons of more than {MOST_CORNERS} corners; expected fewer")
        points = _points(polygon, height, width)
        way += float(np.abs(np.roll(points, -1, axis=0) - points).max(axis=1).sum())
        if way > MOST_WAY:
            raise InputError(f"has polygons more than {MOST_WAY} pixels long; expected outlines of the photograph")
        checked.append(points.ravel().tolist())
    merged = coco_mask.merge(coco_mask.frPyObjects(checked, height, width))
    return {"size": [int(height), int(width)], "counts": merged["counts"].decode("ascii")}


def _points(polygon: list[Any] | tuple[Any, ...], height: int, width: int) -> NDArray[np.float64]:
    """(N, 2) corners x, y."""
    wrong = next((value for value in polygon if not is_number(value)), None)
    if wrong is not None or None in polygon:
        raise InputError(f"has the coordinate {str(wrong)[:40]}; expected a finite number")
    points = np.array(polygon, np.float64).reshape(-1, 2)
    for axis, side in ((0, width), (1, height)):
        values = points[:, axis]
        if values.min() < -side or values.max() > 2 * side:
            far = values.min() if values.min() < -side else values.max()
            raise InputError(f"has the coordinate {far:g}; expected 0 to {side}, or not far from it")
    return points


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _as_bytes(counts: str | bytes) -> bytes:
    try:
        return counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise InputError("has an RLE whose counts are no COCO text; expected letters from 0 to o") from error


def _names(given: dict[Any, Any]) -> str:
    return ", ".join(str(key)[:40] for key in list(given)[:5]) or "nothing"
