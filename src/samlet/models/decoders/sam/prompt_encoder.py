"""SAM's prompt encoder: points, boxes and masks to embeddings (Kirillov et al., "Segment Anything", 2023, appendix A).

Shape legend: P prompts, K points a prompt, T prompt tokens, C embedding channels.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import LayerNorm2d
from samlet.models.decoders.config import DecoderConfig

NOT_A_POINT = -1
"""Label of the filler point that SAM itself adds to a prompt without a box; it is attended to."""
PADDING = -2
"""Label of a point that only fills up a batch; it is never attended to and changes no answer."""


class RandomPositions(nn.Module):
    """Fourier features of coordinates in [0, 1] with a fixed random matrix."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, coords: Tensor) -> Tensor:
        """(..., 2) x before y, in [0, 1], to (..., C)."""
        angles = 2 * math.pi * ((2 * coords - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encodings of the cell centres of a grid, (1, C, height, width)."""
        like = self.positional_encoding_gaussian_matrix
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        coords = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)
        return self(coords).permute(2, 0, 1)[None]


class MaskDownscaling(nn.Sequential):
    """(P, 1, 4h, 4w) mask logits to (P, C, h, w)."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(1, hidden // 4, 2, stride=2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, 2, stride=2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )


class PromptEncoder(nn.Module):
    """Prompts to sparse embeddings (tokens) and dense embeddings (added to the image embedding).

    Attributes:
        always_fills: whether the filler point is added to prompts with a box too.
    """

    always_fills: ClassVar[bool] = False

    def __init__(self, config: DecoderConfig, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.pe_layer = RandomPositions(channels)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = MaskDownscaling(config.mask_in_channels, channels)
        self.no_mask_embed = nn.Embedding(1, channels)

    def tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Sparse embeddings.

        Args:
            points: (P, K, 2) pixels of the encoder's input, x before y; None for none.
            labels: (P, K) 1 foreground, 0 background, `NOT_A_POINT`, or `PADDING`.
            boxes: (P, 4) x0, y0, x1, y1 in the same pixels; None for none.
            size: height and width of the encoder's input, pixels.

        Returns:
            Tokens (P, T, C) and which of them count, (P, T) bool, or None where all do.
        """
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        scale = torch.tensor([size[1], size[0]], dtype=matrix.dtype, device=matrix.device)
        parts: list[Tensor] = []
        valid: list[Tensor] = []
        if boxes is not None and self.always_fills and points is None:
            points, labels = boxes.new_zeros(len(boxes), 0, 2), boxes.new_zeros(len(boxes), 0, dtype=torch.long)
        if points is not None and labels is not None:
            if boxes is None or self.always_fills:  # SAM always has either a box or one filler point
                points = F.pad(points, (0, 0, 0, 1))
                labels = F.pad(labels, (0, 1), value=NOT_A_POINT)
            encoded = self.pe_layer((points + 0.5) / scale)
            encoded = torch.where((labels >= 0)[..., None], encoded, torch.zeros_like(encoded))
            table = torch.cat([self.not_a_point_embed.weight, *self._embeddings(0, 2)])
            parts.append(encoded + table[labels.clamp(min=NOT_A_POINT) + 1])
            valid.append(labels != PADDING)
        if boxes is not None:
            corners = self.pe_layer((boxes.unflatten(-1, (2, 2)) + 0.5) / scale)
            parts.append(corners + torch.cat(self._embeddings(2, 4)))
            valid.append(torch.ones(corners.shape[:2], dtype=torch.bool, device=corners.device))
        if not parts:
            return torch.zeros(1, 0, self.channels, dtype=matrix.dtype, device=matrix.device), None
        mask = torch.cat(valid, dim=1)
        return torch.cat(parts, dim=1), None if bool(mask.all()) else mask

    def _embeddings(self, start: int, stop: int) -> list[Tensor]:
        return [cast(nn.Embedding, self.point_embeddings[i]).weight for i in range(start, stop)]

    def dense(self, masks: Tensor | None) -> Tensor:
        """Dense embeddings of (P, 1, 4h, 4w) mask logits, (P, C, h, w); (1, C, 1, 1) where there are none."""
        if masks is None:
            return self.no_mask_embed.weight.view(1, -1, 1, 1)
        return self.mask_downscaling(masks)
