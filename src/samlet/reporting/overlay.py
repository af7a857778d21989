"""Drawing masks and prompts over a photograph."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from samlet.data.images import RGBImage
from samlet.data.masks import RLE, Mask, bounding_box, decode_rle, interior_point, rle_area

_OPACITY = 0.5
_GOLDEN_ANGLE = 0.381966
_FOREGROUND, _BACKGROUND = (40, 200, 90), (230, 60, 60)

DIFFERENCE_COLOURS = {"both": (250, 240, 200), "expected": (0, 170, 70), "found": (230, 30, 40)}
"""Of what two masks have in common, of what only the expected one has, and of what only the one found has."""


def colour(index: int) -> tuple[int, int, int]:
    """The colour of the mask of that number; neighbouring numbers are far apart in hue, the next dozen is paler."""
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (0.9, 0.7))[index // 12 % 3]
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN_ANGLE) % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(image: RGBImage, masks: Sequence[Mask | RLE], labels: bool = False) -> RGBImage:
    """A copy of an (H, W, 3) image with tinted masks, their edges white; small masks lie above large ones.

    Args:
        image: (H, W, 3).
        masks: (H, W) bool, or COCO RLE, of which one at a time is decoded.
        labels: write each mask's number on it.
    """
    canvas = image.copy()
    edge = max(1, round(max(image.shape[:2]) / 800))
    places = []
    for index in sorted(range(len(masks)), key=lambda i: -_area(masks[i])):
        given = masks[index]
        mask = decode_rle(given) if isinstance(given, dict) else given
        x, y, width, height = bounding_box(mask)
        if not width:
            continue
        y0, x0 = max(y - 1, 0), max(x - 1, 0)  # a pixel more, so that the erosion sees the outside
        window = (slice(y0, y + height + 1), slice(x0, x + width + 1))
        part, pixels = mask[window], canvas[window]
        tint = (1 - _OPACITY) * pixels[part] + _OPACITY * np.array(colour(index), np.float32)
        pixels[part] = tint.round().astype(np.uint8)
        pixels[part & ~ndimage.binary_erosion(part, iterations=edge, border_value=1)] = 255
        if labels:
            places.append((index, interior_point(mask)))
    return _number(canvas, places) if labels else canvas


def draw_difference(image: RGBImage, expected: Mask, found: Mask) -> RGBImage:
    """An (H, W, 3) photograph, greyed, with two masks (H, W) compared; see `DIFFERENCE_COLOURS`."""
    picture = 0.6 * image.mean(axis=2, keepdims=True) + 0.4 * image
    parts = (expected & found, expected & ~found, found & ~expected)
    for mask, tint in zip(parts, DIFFERENCE_COLOURS.values(), strict=True):
        picture[mask] = 0.5 * picture[mask] + 0.5 * np.array(tint, np.float32)
    return picture.astype(np.uint8)


def _area(mask: Mask | RLE) -> int:
    return rle_area(mask) if isinstance(mask, dict) else int(np.count_nonzero(mask))


def _number(image: RGBImage, places: Sequence[tuple[int, tuple[int, int]]]) -> RGBImage:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(10, round(max(image.shape[:2]) / 70)))
    for index, place in places:
        draw.text(place, str(index), fill="white", stroke_fill="black", stroke_width=2, anchor="mm", font=font)
    return np.array(picture)


def draw_prompts(
    image: RGBImage,
    points: NDArray[np.floating] | None = None,
    labels: NDArray[np.integer] | None = None,
    boxes: NDArray[np.floating] | None = None,
) -> Image.Image:
    """A picture with points (K, 2), green for foreground and red for background, and boxes (B, 4)."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    radius = max(3, round(max(image.shape[:2]) / 120))
    if boxes is not None:
        for x0, y0, x1, y1 in boxes:
            draw.rectangle((x0, y0, x1, y1), outline=_FOREGROUND, width=max(2, radius // 3))
    if points is not None:
        for i, (x, y) in enumerate(points):
            fill = _FOREGROUND if labels is None or labels[i] else _BACKGROUND
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline="white", width=2)
    return picture
