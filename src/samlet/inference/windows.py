"""Low-res logits of one region of an image, and the full-resolution mask in them.

A mask's logits matter only where they are not far below the threshold. Outside a window around those places nothing is
kept and nothing computed. Bilinear upscaling is linear along each axis, so a window's full-resolution logits are two
small matrix products, whatever the size of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samlet.data.masks import RLE, encode_rle
from samlet.data.transforms import Frame

_MAX_PIXELS = 1 << 22  # full-resolution logits that exist at once: 16 MB of float32


@dataclass(frozen=True)
class LogitWindow:
    """Low-res logits of a region; what is outside lies below every threshold in use.

    Attributes:
        top: first row.
        left: first column.
        logits: (h, w), float16 where many are kept.
    """

    top: int
    left: int
    logits: Tensor


@dataclass(frozen=True)
class MaskWindow:
    """A mask at full resolution, False outside its window.

    Attributes:
        top: first row in the image, pixels.
        left: first column in the image, pixels.
        mask: (h, w) bool.
        stability: IoU of the masks at both offsets from the threshold.
    """

    top: int
    left: int
    mask: NDArray[np.bool_]
    stability: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First and last column and row, x0, y0, x1, y1, all inclusive, in the image; all 0 for an empty mask."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return 0, 0, 0, 0
        x0, x1 = self.left + int(columns[0]), self.left + int(columns[-1])
        return x0, self.top + int(rows[0]), x1, self.top + int(rows[-1])

    def encode(self, height: int, width: int, x: int = 0, y: int = 0) -> RLE:
        """COCO RLE on an image of height x width pixels in which this one begins at x, y."""
        canvas = np.zeros((height, width), bool, order="F")
        top, left = y + self.top, x + self.left
        canvas[top : top + self.mask.shape[0], left : left + self.mask.shape[1]] = self.mask
        return encode_rle(canvas)


class Upscaler:
    """From low-res logits to the original image, a window at a time.

    Args:
        frame: the image's place in the encoder's input.
        low_res_size: height and width of the low-res logits.
    """

    def __init__(self, frame: Frame, low_res_size: tuple[int, int]) -> None:
        size, resized = frame.image_size, frame.resized
        one_step = frame.one_step
        self._rows = _Axis(low_res_size[0], size, resized[0], frame.height, one_step)
        self._columns = _Axis(low_res_size[1], size, resized[1], frame.width, one_step)
        self.shape = (int(self._rows.last.max()) + 1, int(self._columns.last.max()) + 1)
        """Rows and columns of the low-res logits that the image reaches; the rest is padding."""
        self.cell = (
            size / low_res_size[0] * frame.height / resized[0],
            size / low_res_size[1] * frame.width / resized[1],
        )
        """Height and width of a low-res cell, pixels of the original image."""

    def window(
        self, logits: Tensor, floor: float, top: int = 0, left: int = 0, dtype: torch.dtype = torch.float16
    ) -> LogitWindow:
        """Keep of low-res logits (h, w), which begin at top, left, the part around all that exceeds `floor`."""
        above = logits > floor
        rows, columns = above.any(dim=1).nonzero()[:, 0], above.any(dim=0).nonzero()[:, 0]
        if not len(rows):
            return LogitWindow(top, left, logits[:0, :0].to(dtype).cpu())
        y0, x0 = max(int(rows[0]) - 2, 0), max(int(columns[0]) - 2, 0)
        part = logits[y0 : int(rows[-1]) + 3, x0 : int(columns[-1]) + 3]
        return LogitWindow(top + y0, left + x0, part.to(dtype).cpu())

    def mask(self, window: LogitWindow, threshold: float, offset: float) -> MaskWindow:
        """The mask at full resolution and its stability score.

        Args:
            window: from `window`, with a floor of at most threshold - offset.
            threshold: of the logits.
            offset: of the stability score.
        """
        height, width = window.logits.shape
        rows, top = self._rows.within(window.top, height)
        columns, left = self._columns.within(window.left, width)
        if not len(rows) or not len(columns):
            return MaskWindow(0, 0, np.zeros((0, 0), bool), 0.0)
        half = window.logits.float() @ columns.T
        inner = outer = 0
        mask = np.empty((len(rows), len(columns)), bool)
        strip = max(1, _MAX_PIXELS // len(columns))
        for start in range(0, len(rows), strip):
            logits = rows[start : start + strip] @ half
            inner += int(torch.count_nonzero(logits > threshold + offset))
            outer += int(torch.count_nonzero(logits > threshold - offset))
            mask[start : start + strip] = (logits > threshold).numpy()
        return MaskWindow(top, left, mask, inner / max(outer, 1))

    def logits_at(self, window: LogitWindow, x: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.float32]:
        """Logits at pixels x, y (N,) of the original image, (N,); -inf outside the window."""
        height, width = window.logits.shape
        found = np.full(len(x), -np.inf, np.float32)
        inside = np.flatnonzero(
            self._rows.reads_within(window.top, height)[y] & self._columns.reads_within(window.left, width)[x]
        )
        if len(inside):
            rows = self._rows.matrix[y[inside], window.top : window.top + height]
            columns = self._columns.matrix[x[inside], window.left : window.left + width]
            found[inside] = ((rows @ window.logits.float()) * columns).sum(dim=1).numpy()
        return found

    def draw(self, low_res: Tensor, threshold: float, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Masks (K, height, width) of the whole image of that size from low-res logits (K, h, w)."""
        drawn = np.zeros((len(low_res), *size), bool)
        for canvas, logits in zip(drawn, low_res, strict=True):
            window = self.window(logits, threshold, dtype=torch.float32)
            found = self.mask(window, threshold, 0.0)
            height, width = found.mask.shape
            canvas[found.top : found.top + height, found.left : found.left + width] = found.mask
        return drawn


class _Axis:
    """The upscaling along one axis as a matrix (original, low_res); see `Frame.upscale`."""

    def __init__(self, low_res: int, image_size: int, resized: int, original: int, one_step: str | None) -> None:
        steps = torch.eye(low_res)[None]
        if one_step is not None:
            steps = F.interpolate(steps[None], (low_res, original), mode=one_step, align_corners=False)[0]
        else:
            steps = F.interpolate(steps, image_size, mode="linear", align_corners=False)[..., :resized]
            if resized != original:
                steps = F.interpolate(steps, original, mode="linear", align_corners=False)
        self.matrix = steps[0].T.contiguous()
        used = self.matrix.numpy() != 0
        self.first = used.argmax(axis=1)  # the first low-res cell that an output reads
        self.last = low_res - 1 - used[:, ::-1].argmax(axis=1)

    def reads_within(self, start: int, length: int) -> NDArray[np.bool_]:
        """Which outputs read nothing outside start … start + length."""
        return (self.first >= start) & (self.last < start + length)

    def within(self, start: int, length: int) -> tuple[Tensor, int]:
        """Outputs that read nothing outside start … start + length: their part of the matrix, and the first's number.

        The others lie below the floor of a window, which reaches two cells beyond all that exceeds it.
        """
        inside = np.flatnonzero(self.reads_within(start, length))
        if not len(inside):
            return self.matrix[:0, :0], 0
        first, last = int(inside[0]), int(inside[-1])
        return self.matrix[first : last + 1, start : start + length], first
