"""EfficientSAM's prompt encoder and mask decoder (Xiong et al., "EfficientSAM", CVPR 2024).

They vary SAM's: a prompt always fills six places, empty ones included; there are no mask prompts, and clicks on the
background add their position only, as the model never learnt them; self-attention keeps its residual and its positions;
GELU stands for ReLU; and one normalisation spans all channels and positions.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.models.building_blocks import MLP
from samlet.models.decoders.config import DecoderConfig
from samlet.models.decoders.sam.mask_decoder import MaskDecoder, TransformerMLP, TwoWayBlock
from samlet.models.decoders.sam.prompt_encoder import RandomPositions

_PLACES = 6


class EfficientPromptEncoder(nn.Module):
    """Points and boxes to six tokens; same methods as `PromptEncoder`."""

    def __init__(self, config: DecoderConfig, channels: int) -> None:  # noqa: ARG002 - as `PromptEncoder`
        super().__init__()
        self.channels = channels
        self.pe_layer = RandomPositions(channels)
        self.invalid_points = nn.Embedding(1, channels)
        self.point_embeddings = nn.Embedding(1, channels)
        self.bbox_top_left_embeddings = nn.Embedding(1, channels)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, channels)

    def tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, None]:
        """Tokens (P, 6, C), all of which count; of more prompts than places the first stay, a box before points.

        Arguments as of `PromptEncoder.tokens`.
        """
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        scale = torch.tensor([size[1], size[0]], dtype=matrix.dtype, device=matrix.device)
        count = len(boxes) if boxes is not None else len(points) if points is not None else 1
        places = torch.full((count, _PLACES, 2), -1.0, dtype=matrix.dtype, device=matrix.device)
        kinds = torch.zeros(count, _PLACES, dtype=torch.long, device=matrix.device)
        used = 0
        if boxes is not None:
            places[:, :2] = boxes.unflatten(-1, (2, 2))
            kinds[:, 0], kinds[:, 1], used = 3, 4, 2
        if points is not None and labels is not None:
            taken = min(points.shape[1], _PLACES - used)
            given = labels[:, :taken] >= 0
            places[:, used : used + taken] = torch.where(given[..., None], points[:, :taken], -1.0)
            kinds[:, used : used + taken] = torch.where(given, 1 + labels[:, :taken], 0)
        nothing = self.point_embeddings.weight.new_zeros(1, self.channels)
        table = torch.cat(
            [
                self.invalid_points.weight,
                nothing,
                self.point_embeddings.weight,
                self.bbox_top_left_embeddings.weight,
                self.bbox_bottom_right_embeddings.weight,
            ]
        )
        return self.pe_layer((places + 0.5) / scale) + table[kinds], None

    def dense(self, masks: Tensor | None) -> Tensor:
        """Zeros (1, C, 1, 1): nothing is added to the image.

        Raises:
            InputError: a mask prompt.
        """
        if masks is not None:
            raise InputError("EfficientSAM takes no mask prompts; expected points or boxes")
        return self.point_embeddings.weight.new_zeros(1, self.channels, 1, 1)


class EfficientBlock(TwoWayBlock):
    """SAM's two-way block, with GELU and another self-attention."""

    def __init__(self, config: DecoderConfig, dim: int, first: bool) -> None:
        super().__init__(config, dim, first)
        self.mlp = TransformerMLP(dim, config.mlp_dim, F.gelu)

    def attend_to_each_other(self, tokens: Tensor, positions: Tensor, valid: Tensor | None) -> Tensor:
        """The tokens (P, T, C) after their self-attention; positions stay in the residual stream."""
        if not self.first:
            tokens = tokens + positions
        return self.norm1(tokens + self.self_attn(tokens, tokens, tokens, valid))


class EfficientMaskDecoder(MaskDecoder):
    """SAM's mask decoder with EfficientSAM's blocks, heads and upscaling."""

    def __init__(self, config: DecoderConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.transformer.layers = nn.ModuleList(EfficientBlock(config, dim, first=i == 0) for i in range(config.depth))
        self.output_upscaling[1] = nn.GroupNorm(1, dim // 4)
        for mlp in (*self.output_hypernetworks_mlps, self.iou_prediction_head):
            cast(MLP, mlp).activation = F.gelu
