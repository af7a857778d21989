"""Pictures from strangers: looked at before they are decoded, and refused where they are too large."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from samlet.data.formats import EXPECTED, allowed_formats, kind_of
from samlet.data.images import RGBImage, decode_image
from samlet.errors import InputError
from samlet.serve.errors import RequestError

_NAME = "the picture"


def check_picture(content: bytes, max_pixels: int) -> None:
    """Look at a picture's head alone, which says its size whatever its bytes unpack to.

    Raises:
        RequestError: no bytes, no picture (400, 415), or more pixels than are taken (413).
    """
    if not content:
        raise RequestError(400, f"the body is empty; expected the bytes of {EXPECTED}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=allowed_formats()) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise RequestError(
            413, f"the picture unpacks to far more than the {max_pixels} pixels that are taken; send a smaller one"
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        kind = kind_of(content[:1024])
        found = f"is {kind}" if kind else "is none that can be read"
        raise RequestError(415, f"{_NAME} {found}; expected {EXPECTED}") from error
    if width * height > max_pixels:
        raise RequestError(
            413, f"{_NAME} has {width} x {height} pixels; expected at most {max_pixels} in all: send a smaller one"
        )


def decode_picture(content: bytes) -> RGBImage:
    """(H, W, 3) RGB, upright.

    Raises:
        RequestError: it is damaged (400).
    """
    try:
        return decode_image(io.BytesIO(content), _NAME)
    except InputError as error:
        raise RequestError(400, str(error)) from error
