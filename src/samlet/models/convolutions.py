"""TinyViT's convolutional layers: stem and inverted bottlenecks, strip by strip in inference.

Shape legend: B images, C channels, H, W height and width of the map; channels-last in memory throughout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.chunking import conv_rows, gelu_, strip_size
from samlet.models.modes import computes_whole


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution of each channel apart."""
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)


class Stem(nn.Module):
    """(B, 3, H, W) to (B, dim, H / 4, W / 4)."""

    def __init__(self, hidden_dim: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, hidden_dim, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(hidden_dim, dim, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        image = image.contiguous(memory_format=torch.channels_last)
        if computes_whole():
            return self.conv2(F.gelu(self.conv1(image)))
        batch, _, height, width = image.shape
        middle, rows = height // 2, height // 4
        out = _empty(batch, self.conv2.out_channels, rows, width // 4, image)
        step = strip_size(rows, batch * self.conv1.out_channels * width)  # two rows inside for each row outside
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            first, last = max(2 * start - 2, 0), min(2 * stop, middle)
            hidden = gelu_(conv_rows(self.conv1, image, 0, height, first, last))
            out[:, :, start:stop] = conv_rows(self.conv2, hidden, first, middle, start, stop)
        return out


class InvertedBottleneck(nn.Module):
    """1×1 up, 3×3 depthwise, 1×1 down, GELU between them: (B, C, H, W) to (B, out_dim, H / stride, W / stride).

    With a residual it is the MBConv of stage 0, without the merging of patches between stages.
    """

    def __init__(self, dim: int, hidden_dim: int, out_dim: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, hidden_dim, 1)
        self.conv2 = depthwise(hidden_dim, stride)
        self.conv3 = nn.Conv2d(hidden_dim, out_dim, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        if computes_whole():
            y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
            return F.gelu(x + y) if self.residual else y
        batch, _, height, width = x.shape
        stride, hidden_dim = self.conv2.stride[0], self.conv1.out_channels
        rows = -(-height // stride)
        out = _empty(batch, self.conv3.out_channels, rows, -(-width // stride), x)
        step = strip_size(rows, batch * hidden_dim * width * stride)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            first, last = max(stride * (start - 1), 0), min(stride * (stop - 1) + 2, height)
            hidden = gelu_(self.conv1(x[:, :, first:last]))
            y = self.conv3(gelu_(conv_rows(self.conv2, hidden, first, height, start, stop)))
            out[:, :, start:stop] = gelu_(y.add_(x[:, :, start:stop])) if self.residual else y
        return out


def _empty(batch: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return torch.empty(
        (batch, channels, height, width), dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
