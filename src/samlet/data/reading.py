"""How photographs are read: range, page, and how many pixels one may have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from samlet.data.ranges import Range
from samlet.errors import InputError

MOST_PIXELS = 160_000_000
"""Of a picture, unless more are asked for: the largest sensors of cameras have some 151 million."""


@dataclass(frozen=True)
class Reading:
    """How photographs are read.

    Attributes:
        range: of pictures with more than 8 bits, what is black and what is white; told by the values if None.
        page: of files with several pages or frames, which one, from 1 on; the first, with a remark, if None.
        stored_pixels: leave the pixels as they are stored, whatever the EXIF orientation says, so that coordinates
            count there; otherwise photographs are upright everywhere.
        max_pixels: a picture of more is refused before any of it is unpacked.
    """

    range: Range | None = None
    page: int | None = None
    stored_pixels: bool = False
    max_pixels: int = MOST_PIXELS

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise InputError(f"max_pixels is {self.max_pixels}; expected at least 1, such as {MOST_PIXELS}")
        if self.page is not None and self.page < 1:
            raise InputError(f"page is {self.page}; expected 1 for the first")

    def as_dict(self) -> dict[str, Any]:
        """What differs from the default and shows in the pixels, ready for JSON."""
        given = {
            "range": None if self.range is None else str(self.range),
            "page": self.page,
            "stored_pixels": self.stored_pixels or None,
        }
        return {name: value for name, value in given.items() if value is not None}


_reading = Reading()


def current_reading() -> Reading:
    """How photographs are read at present."""
    return _reading


def set_reading(chosen: Reading) -> None:
    """Read photographs so from now on, in all threads of this process."""
    global _reading
    _reading = chosen
    if chosen.max_pixels > MOST_PIXELS:  # Pillow has a limit of its own, of half as many
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, chosen.max_pixels)


@contextlib.contextmanager
def reading(chosen: Reading) -> Iterator[None]:
    """Read photographs so while it lasts."""
    before = _reading
    set_reading(chosen)
    try:
        yield
    finally:
        set_reading(before)


def check_pixels(image: Image.Image, name: str) -> None:
    """Refuse a picture whose head says that it has more pixels than are wanted, before they are unpacked."""
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{name} has {width} x {height} pixels; expected at least one")
    if width * height > _reading.max_pixels:
        raise InputError(too_large(name, f"{width} x {height} pixels"))


def too_large(name: str, found: str) -> str:
    """What to say of a picture with too many pixels."""
    return (
        f"{name} is too large: {found}; expected at most {_reading.max_pixels} (--max-pixels N allows more). Make it "
        "smaller, or leave it out"
    )
