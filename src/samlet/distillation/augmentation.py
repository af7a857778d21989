"""Augmentation of a photograph and its masks together: mirror, large-scale jitter (Ghiasi et al., 2021), colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from samlet.data.images import RGBImage
from samlet.data.masks import Mask

_SCALES = (0.5, 2.0)
_COLOUR = 0.2  # brightness, contrast and saturation change by at most this share


@dataclass(frozen=True)
class View:
    """A part of a photograph on a canvas, perhaps mirrored and of other colours.

    Attributes:
        crop: top, left, height, width of the part, pixels.
        canvas: height and width of the result, pixels.
        at: row and column of the part in it.
        mirror: whether the part is mirrored.
        colours: factors of brightness, contrast and saturation.
    """

    crop: tuple[int, int, int, int]
    canvas: tuple[int, int]
    at: tuple[int, int]
    mirror: bool
    colours: tuple[float, float, float]

    def image(self, image: RGBImage, fill: RGBImage) -> RGBImage:
        """The view of an (H, W, 3) image; `fill` (3,) is the colour of what lies outside."""
        picture = Image.fromarray(self._part(image))
        for enhancer, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self.colours, strict=True
        ):
            picture = enhancer(picture).enhance(factor)
        return self._placed(np.asarray(picture), np.broadcast_to(fill, (*self.canvas, 3)).copy())

    def mask(self, mask: Mask) -> Mask:
        """The view of an (H, W) mask; nothing of it lies outside the part."""
        return self._placed(self._part(mask), np.zeros(self.canvas, bool))

    def _part(self, array: np.ndarray) -> np.ndarray:
        top, left, height, width = self.crop
        part = array[top : top + height, left : left + width]
        return np.ascontiguousarray(part[:, ::-1] if self.mirror else part)

    def _placed(self, part: np.ndarray, canvas: np.ndarray) -> np.ndarray:
        top, left = self.at
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        return canvas


def random_view(height: int, width: int, rng: np.random.Generator) -> View:
    """A view at a random scale: enlarged it shows a part of the photograph, made smaller the whole on a larger canvas.

    Args:
        height: of the photograph, pixels.
        width: of it.
        rng: decides.
    """
    scale = math.exp(rng.uniform(*np.log(_SCALES)))
    mirror = bool(rng.random() < 0.5)
    brightness, contrast, saturation = (1 + rng.uniform(-_COLOUR, _COLOUR, 3)).tolist()
    colours = (brightness, contrast, saturation)
    side = max(1, round(height / scale)), max(1, round(width / scale))
    if scale >= 1:
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip((height, width), side, strict=True))
        return View((top, left, *side), side, (0, 0), mirror, colours)
    at = tuple(int(rng.integers(0, part - whole + 1)) for whole, part in zip((height, width), side, strict=True))
    return View((0, 0, height, width), side, (at[0], at[1]), mirror, colours)
