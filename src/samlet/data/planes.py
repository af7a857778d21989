"""Masks and maps of labels as PNG, and the sizes of pictures without unpacking them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samlet.data.formats import allowed_formats
from samlet.data.reading import check_pixels, too_large
from samlet.errors import InputError


def read_plane(source: Path | bytes, name: str) -> NDArray[Any]:
    """The values of a PNG as they are stored, (H, W) or (H, W, C): a mask, or a map of labels.

    Args:
        source: the file, or its bytes.
        name: for messages.

    Raises:
        InputError: it is no PNG, a damaged one, or one of more pixels than are wanted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = source if isinstance(source, Path) else io.BytesIO(source)
            with Image.open(opened, formats=["PNG"]) as picture:
                check_pixels(picture, name)
                return np.asarray(picture)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(too_large(name, str(error).split(",")[0])) from error
    except Exception as error:  # a damaged byte leads the reader anywhere
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{name} cannot be read: {reason}; expected the PNG of a mask or of labels") from error


def stored_size(source: Path | Callable[[], bytes]) -> tuple[int, int] | None:
    """Height and width that the head of a picture says, as stored; None where nothing can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = source if isinstance(source, Path) else io.BytesIO(source())
            with Image.open(opened, formats=allowed_formats()) as image:
                return image.height, image.width
    except Exception:  # which reading the picture will say
        return None
