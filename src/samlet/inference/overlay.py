"""Drawing masks and prompts over a photograph."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from samlet.data.images import RGBImage
from samlet.data.masks import Mask

_OPACITY = 0.5
_GOLDEN_ANGLE = 0.381966
_FOREGROUND, _BACKGROUND = (40, 200, 90), (230, 60, 60)


def colour(index: int) -> tuple[int, int, int]:
    """The colour of the mask of that number; neighbouring numbers are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN_ANGLE) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(image: RGBImage, masks: Sequence[Mask]) -> RGBImage:
    """A copy of an (H, W, 3) image with tinted masks (H, W), their edges white; small masks lie above large ones."""
    canvas = image.astype(np.float32)
    edge = max(1, round(max(image.shape[:2]) / 500))
    for index in sorted(range(len(masks)), key=lambda i: -np.count_nonzero(masks[i])):
        mask = masks[index]
        canvas[mask] = (1 - _OPACITY) * canvas[mask] + _OPACITY * np.array(colour(index), np.float32)
        canvas[mask & ~ndimage.binary_erosion(mask, iterations=edge, border_value=1)] = 255
    return canvas.round().astype(np.uint8)


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
