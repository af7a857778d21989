"""From an image to the encoder's input, and coordinates with it.

segment-anything and most others keep the proportions (its ResizeLongestSide); EfficientSAM and SAM 2 stretch to the
square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from samlet.data.images import RGBImage

Resize = Literal["longest_side", "stretch", "stretch_antialiased"]
"""How images come to the square input: with their proportions, or stretched, without antialiasing as in EfficientSAM or
with it as in SAM 2."""


@dataclass(frozen=True)
class Frame:
    """How an image lies in the encoder's square input: at the top left, padded at the right and bottom.

    Attributes:
        height: of the original image, pixels.
        width: of the original image, pixels.
        image_size: side of the encoder's input, pixels.
        resize: whether the image keeps its proportions or fills the whole input; see `Resize`.
    """

    height: int
    width: int
    image_size: int
    resize: Resize = "longest_side"

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width of the image inside the input: the longest side, or both, fill it."""
        if self.resize != "longest_side":
            return self.image_size, self.image_size
        scale = self.image_size / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    @property
    def one_step(self) -> str | None:
        """How logits come back to a stretched image in one step; None where they take two."""
        return {"longest_side": None, "stretch": "bicubic", "stretch_antialiased": "bilinear"}[self.resize]

    def to_input(self, coords: Tensor) -> Tensor:
        """(..., 2) x, y in pixels of the original image to pixels of the encoder's input."""
        height, width = self.resized
        return coords * torch.tensor(
            [width / self.width, height / self.height], dtype=coords.dtype, device=coords.device
        )

    def upscale(self, low_res: Tensor) -> Tensor:
        """Low-res logits (N, M, h, w) to logits (N, M, height, width) on the original image.

        In two bilinear steps by way of the encoder's input, as segment-anything does; of a stretched image in one step,
        bicubic as EfficientSAM does it or bilinear as SAM 2 does.
        """
        if self.one_step is not None:
            return F.interpolate(low_res.float(), (self.height, self.width), mode=self.one_step, align_corners=False)
        height, width = self.resized
        size = (self.image_size, self.image_size)
        logits = F.interpolate(low_res.float(), size, mode="bilinear", align_corners=False)[..., :height, :width]
        if (height, width) == (self.height, self.width):
            return logits
        return F.interpolate(logits, (self.height, self.width), mode="bilinear", align_corners=False)


def preprocess(
    image: RGBImage, image_size: int, mean: Tensor, std: Tensor, resize: Resize = "longest_side"
) -> tuple[Tensor, Frame]:
    """Resize so that the longest side is `image_size`, normalise, pad; or resize to the square.

    Args:
        image: (H, W, 3) uint8 RGB.
        image_size: side of the result, pixels.
        mean: (3, 1, 1) of RGB in 0…255.
        std: (3, 1, 1).
        resize: see `Resize`.

    Returns:
        (3, image_size, image_size) float32 and the frame that leads back.
    """
    frame = Frame(image.shape[0], image.shape[1], image_size, resize)
    if resize != "longest_side":
        values = torch.from_numpy(np.array(image)).to(mean.device).permute(2, 0, 1)[None].float()
        smooth = resize == "stretch_antialiased"
        resized = F.interpolate(values, frame.resized, mode="bilinear", align_corners=False, antialias=smooth)
        return (resized[0] - mean) / std, frame
    height, width = frame.resized
    if (height, width) != image.shape[:2]:
        image = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    elif not image.flags.writeable:
        image = image.copy()  # torch warns about such arrays
    pixels = torch.from_numpy(image).to(mean.device).permute(2, 0, 1).float()
    return F.pad((pixels - mean) / std, (0, image_size - width, 0, image_size - height)), frame
