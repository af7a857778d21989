"""Reading photographs as 8-bit RGB."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from samlet.errors import InputError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

RGBImage = NDArray[np.uint8]
"""(H, W, 3) red, green, blue in 0…255."""


def read_image(path: str | Path, upright: bool = True) -> RGBImage:
    """Read one photograph.

    Greyscale becomes grey RGB, transparency is dropped, 16-bit values are scaled to 8 bits.

    Args:
        path: an image file.
        upright: turn the picture as its EXIF orientation says. Annotations of datasets are on the stored pixels, so
            datasets read with False.

    Raises:
        InputError: no such file, no image, or a damaged one.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected an image")
    return decode_image(path, str(path), upright)


def decode_image(source: Path | BinaryIO, name: str, upright: bool = True) -> RGBImage:
    """Read a photograph from a file or an open stream; `name` is for messages. See `read_image`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                image.load()
                return to_rgb(image, upright)
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that can be read; expected JPEG, PNG, WebP, BMP or TIFF") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is a damaged or oversized image: {error}; save it again or leave it out") from error


def to_rgb(image: Image.Image, upright: bool = True) -> RGBImage:
    """A PIL image as 8-bit RGB; see `read_image`."""
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 or 32 bits of grey
        values = np.asarray(image).astype(np.float64)
        values = values / 257 if values.max(initial=0) > 255 else values
        return np.repeat(values.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


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
        digest.update(path.name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def find_images(folder: str | Path) -> list[Path]:
    """All image files in a folder and its subfolders, in the order of their names.

    Raises:
        InputError: no such folder, or no image in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of images")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
    if not found:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"{folder} holds no images; expected files that end in {kinds}")
    return found
