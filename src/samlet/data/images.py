"""Reading photographs as 8-bit RGB."""

from __future__ import annotations

import hashlib
import io
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from samlet.data.folders import find_images
from samlet.data.formats import EXPECTED, EXTENSIONS, allowed_formats, kind_of
from samlet.data.ranges import to_8_bits
from samlet.data.reading import Reading, check_pixels, current_reading, reading, set_reading, too_large
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.remarks import remark

__all__ = [
    "EXTENSIONS",
    "RGBImage",
    "Reading",
    "array_to_rgb",
    "current_reading",
    "find_images",
    "read_image",
    "reading",
    "set_reading",
    "to_rgb",
]

RGBImage = NDArray[np.uint8]
"""(H, W, 3) red, green, blue in 0…255."""

_PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")


def read_image(path: str | Path, upright: bool = True, page: int | None = None) -> RGBImage:
    """Read one photograph.

    Greyscale becomes grey RGB, transparency is dropped, and higher bit depths are scaled to 8 bits; see
    `samlet.data.ranges`.

    Args:
        path: an image file.
        upright: turn the picture as its EXIF orientation says, unless `Reading.stored_pixels` is set.
        page: of a file with several, from 1 on.

    Raises:
        InputError: no such file, no image of the formats that are read, or a damaged one.
    """
    path = expanded(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected one image")
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected an image")
    with path.open("rb") as file:
        return decode_image(file, str(path), upright, page)


def decode_image(
    source: BinaryIO, name: str, upright: bool = True, page: int | None = None, forced: bool = False
) -> RGBImage:
    """Read a photograph from an open file or stream; `name` is for messages. See `read_image`.

    With `forced`, `upright` is what is done, whatever `Reading.stored_pixels` says.
    """
    head = source.read(1024)
    source.seek(0)
    upright = upright and (forced or not current_reading().stored_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=allowed_formats()) as image:
                _turn_to(image, name, page)
                check_pixels(image, name)
                deep = _deep_colour(image, source)
                if deep is None:
                    image.load()
                    return to_rgb(ImageOps.exif_transpose(image) if upright else image, False, name)
                turned = deep if not upright else _turn(deep, image.getexif().get(0x0112, 1))
                return to_8_bits(turned, name, current_reading().range)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is; make it smaller, or leave it out") from error
    except UnidentifiedImageError as error:
        kind = kind_of(head)
        if kind is not None:
            raise InputError(
                f"{name} is {kind}, which is not opened as a photograph; expected {EXPECTED}. Convert it to one of them"
            ) from error
        raise InputError(f"{name} is not an image that can be read; expected {EXPECTED}") from error
    except Image.DecompressionBombError as error:
        raise InputError(too_large(name, str(error).split(",")[0])) from error
    except Exception as error:  # a damaged byte leads the readers of a dozen formats anywhere
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{name} is a damaged image: {reason}; save it again or leave it out") from error


def faces_upright(source: BinaryIO, size: tuple[int, int]) -> bool:
    """Whether annotations of a size lie on a picture as its EXIF orientation turns it, or on the pixels as stored.

    Only the sides tell, where the orientation swaps them. Where they cannot, it is upright, as everywhere, unless
    `Reading.stored_pixels` is set.

    Args:
        source: the file, which is left at its beginning; only its head is read.
        size: height and width that the annotations are for, pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=allowed_formats()) as image:
                stored, orientation = (image.height, image.width), image.getexif().get(0x0112, 1)
    except Exception:  # which reading the picture will say
        return True
    finally:
        source.seek(0)
    if orientation in (5, 6, 7, 8) and stored != stored[::-1] and size in (stored, stored[::-1]):
        return size != stored
    return not current_reading().stored_pixels


def orientation_of(path: Path) -> int:
    """The EXIF orientation of a file, 1 to 8; 1 where it has none, or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=allowed_formats()) as image:
                return int(image.getexif().get(0x0112, 1))
    except Exception:  # which reading the picture will say
        return 1


def count_pages(path: Path) -> int:
    """Pages of a TIFF; 1 for any other file, and for what cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["TIFF"]) as image:
                return int(getattr(image, "n_frames", 1))
    except Exception:  # which reading the picture will say
        return 1


def _turn_to(image: Image.Image, name: str, page: int | None) -> None:
    """Go to the page that was asked for, or say that there are others."""
    pages = int(getattr(image, "n_frames", 1)) if image.format in _PAGED else 1
    chosen = page or current_reading().page
    if chosen is None:
        if pages > 1:
            remark(f"{name} has {pages} pages or frames, of which the first is used; --page N takes another", "pages")
        return
    if pages == 1 and page is None:
        return  # in a folder, files of one page are read as they are
    if not 1 <= chosen <= pages:
        raise InputError(f"{name} has {pages} pages, and page {chosen} was asked for; expected 1 to {pages}")
    image.seek(chosen - 1)


def _deep_colour(image: Image.Image, source: BinaryIO) -> NDArray[np.uint16] | None:
    """(H, W, 3) of a picture with 16 bits a colour, of which Pillow keeps the higher 8; None for any other.

    Both bytes come from decoding twice, the second time as if the bytes stood in the other order.
    """
    tiles = getattr(image, "tile", [])
    raw = _raw_mode(tiles[0]) if tiles else ""
    colour, _, order = raw.partition(";16")
    if colour not in ("RGB", "RGBA", "RGBX") or order not in ("L", "B", "N") or image.mode not in ("RGB", "RGBA"):
        return None
    position = image.tell()
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}[order]
    place = source.tell()
    source.seek(0)
    content = io.BytesIO(source.read())
    source.seek(place)
    with Image.open(content, formats=[str(image.format)]) as twin:
        if position:
            twin.seek(position)
        twin.tile = [_with_raw_mode(tile, f"{colour};16{other}") for tile in twin.tile]
        image.load()
        twin.load()
        high, low = (np.asarray(one)[..., :3].astype(np.uint16) for one in (image, twin))
    return np.asarray(high << 8 | low, np.uint16)


def _raw_mode(tile: Any) -> str:
    given = tile[3]
    found = given[0] if isinstance(given, tuple) and given else given
    return found if isinstance(found, str) else ""


def _with_raw_mode(tile: Any, after: str) -> Any:
    given = tile[3]
    changed = (after, *given[1:]) if isinstance(given, tuple) else after
    return (*tile[:3], changed) if not hasattr(tile, "_replace") else tile._replace(args=changed)


def _turn(pixels: NDArray, orientation: int) -> NDArray:
    """Pixels (H, W, C) turned as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def to_rgb(image: Image.Image, upright: bool = True, name: str = "the image") -> RGBImage:
    """A PIL image as 8-bit RGB; see `read_image`."""
    if upright and not current_reading().stored_pixels:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):  # floating point, or 16 or 32 bits of grey
        return array_to_rgb(np.asarray(image), name)
    return np.array(image.convert("RGB"))


def array_to_rgb(values: NDArray, name: str = "the image") -> RGBImage:
    """An array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of any number type as 8-bit RGB; see `samlet.data.ranges`.

    Raises:
        InputError: another shape or type.
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        swapped = "; move the axis of colours to the end" if values.ndim == 3 and values.shape[0] in (1, 3, 4) else ""
        raise InputError(
            f"{name} is a {values.dtype} array of shape {values.shape}; expected (H, W, 3) RGB or (H, W) grey, "
            f"a PIL image or a path{swapped}"
        )
    values = values[..., :3]
    if values.dtype != np.uint8:
        values = to_8_bits(values, name, current_reading().range)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def is_readable(path: str | Path) -> bool:
    """Whether `read_image` can read a file."""
    try:
        read_image(path)
    except InputError:
        return False
    return True


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode(errors="surrogateescape"))
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
