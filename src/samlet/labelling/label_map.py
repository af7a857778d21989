"""One map of labels from the masks of an image: 16 bits, no overlaps, 0 for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from samlet.data.masks import decode_rle, encode_rle, rle_from_segmentation
from samlet.errors import InputError

_MOST = 65535
_NAME = "image"


def label_map(masks: Sequence[dict[str, Any]], height: int, width: int) -> NDArray[np.uint16]:
    """(height, width): number k + 1 where mask k of the list lies; where several do, that of the smallest.

    Args:
        masks: dictionaries with `segmentation` (RLE, polygons or an array) and `area`.
        height: of the image, pixels.
        width: of the image, pixels.

    Raises:
        InputError: more masks than 16 bits can number.
    """
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
    about.add_text(_NAME, image)
    Image.fromarray(labels).save(path, format="png", pnginfo=about)


def image_of(path: Path) -> str | None:
    """The name of the image that a label map was written for; None if samlet did not write it."""
    try:
        with Image.open(path, formats=["PNG"]) as found:
            return getattr(found, "text", {}).get(_NAME)
    except (OSError, ValueError, SyntaxError):
        return None
