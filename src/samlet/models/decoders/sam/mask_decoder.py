"""SAM's two-way mask decoder (Kirillov et al., "Segment Anything", 2023, appendix A).

Shape legend: P prompts, T tokens, S image positions (h · w), C channels, M masks (single first, then multimask).
What does not depend on the prompt keeps a batch of 1 until the prompt comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import MLP, Activation, AttentionProducts, LayerNorm2d, Product
from samlet.models.decoders.config import DecoderConfig


@dataclass(frozen=True)
class DecoderOutput:
    """What the mask decoder answers.

    Attributes:
        low_res: mask logits (P, M, 4h, 4w); mask 0 is the single-mask output, the others the multimask outputs.
        iou: predicted IoU of each mask (P, M).
        tokens: output tokens (P, 1 + M, C): the IoU token, then one a mask.
        object_score: logits of an object being there at all (P,); None from a decoder that does not say.
    """

    low_res: Tensor
    iou: Tensor
    tokens: Tensor
    object_score: Tensor | None = None


class Attention(nn.Module):
    """Multi-head attention with an inner width of its own; batches of 1 are broadcast after their projection."""

    def __init__(self, dim: int, heads: int, inner_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)
        self.products = AttentionProducts()
        self.scale = (inner_dim // heads) ** -0.5

    def forward(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend from q (P, L, C) to k, v (P, S, C); `valid` (P, S) says which keys count."""
        batch = max(q.shape[0], k.shape[0])
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).expand(batch, -1, -1, -1)
            for projection, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        bias = None
        if valid is not None:
            bias = torch.zeros(valid.shape, dtype=q.dtype, device=q.device).masked_fill(~valid, float("-inf"))
            bias = bias[:, None, None, :].expand(batch, 1, q.shape[2], -1)
        return self.out_proj(self.products(q, k, v, self.scale, bias).transpose(1, 2).flatten(2))


class TransformerMLP(nn.Module):
    """Two linear layers with an activation between them, ReLU in SAM."""

    def __init__(self, dim: int, hidden_dim: int, activation: Activation = F.relu) -> None:
        super().__init__()
        self.activation = activation
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(x)))


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves, then to the image, pass an MLP, and the image attends to the tokens."""

    def __init__(self, config: DecoderConfig, dim: int, first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, config.num_heads, dim)
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.cross_attn_token_to_image = Attention(dim, config.num_heads, dim // 2)
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = TransformerMLP(dim, config.mlp_dim)
        self.norm3 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.norm4 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.cross_attn_image_to_token = Attention(dim, config.num_heads, dim // 2)
        self.first = first

    def forward(
        self, tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        tokens = self.attend_to_each_other(tokens, token_positions, valid)
        image_keys = image + image_positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_positions, image_keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.cross_attn_image_to_token(image_keys, tokens + token_positions, tokens, valid)
        return tokens, self.norm4(image + update)

    def attend_to_each_other(self, tokens: Tensor, positions: Tensor, valid: Tensor | None) -> Tensor:
        """The tokens (P, T, C) after their self-attention."""
        if self.first:  # the token positions are the tokens themselves here, so they are not added again
            return self.norm1(self.self_attn(tokens, tokens, tokens, valid))
        q = tokens + positions
        return self.norm1(tokens + self.self_attn(q, q, tokens, valid))


class TwoWayTransformer(nn.Module):
    """Blocks, then one last attention from tokens to image."""

    def __init__(self, config: DecoderConfig, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, dim, first=i == 0) for i in range(config.depth))
        self.final_attn_token_to_image = Attention(dim, config.num_heads, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_positions: Tensor, tokens: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """image (P or 1, S, C), image_positions (1, S, C), tokens (P, T, C) to tokens (P, T, C), image (P, S, C)."""
        positions = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, positions, image_positions, valid)
        update = self.final_attn_token_to_image(tokens + positions, image + image_positions, image)
        return self.norm_final_attn(tokens + update), image


class MaskDecoder(nn.Module):
    """Image embedding and prompt embeddings to masks and their predicted IoU.

    Attributes:
        leading: how many of the decoder's own tokens come before the IoU token.
    """

    leading: ClassVar[int] = 0

    def __init__(self, config: DecoderConfig, dim: int) -> None:
        super().__init__()
        self.num_masks = config.num_multimask_outputs + 1
        self.transformer = TwoWayTransformer(config, dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_masks, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(self.num_masks))
        self.mask_product = Product()
        self.iou_prediction_head = MLP(dim, config.iou_head_hidden_dim, self.num_masks, config.iou_head_depth)

    def own_tokens(self) -> Tensor:
        """The decoder's own tokens (T, C) that stand before those of the prompt."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def upscale(self, source: Tensor, fine: Sequence[Tensor]) -> Tensor:  # noqa: ARG002 - for decoders that take some
        """Image features (P, C, h, w), and finer ones where a decoder takes them, to (P, C / 8, 4h, 4w)."""
        return self.output_upscaling(source)

    def predicted_iou(self, token: Tensor) -> Tensor:
        """The IoU token (P, C) to the predicted IoU of each mask (P, M)."""
        return self.iou_prediction_head(token)

    def object_score(self, tokens: Tensor) -> Tensor | None:  # noqa: ARG002 - for decoders that say it
        """All own tokens (P, T, C) to logits of an object being there (P,)."""
        return None

    def forward(
        self,
        image: Tensor,
        image_positions: Tensor,
        prompt_tokens: Tensor,
        dense: Tensor,
        valid: Tensor | None = None,
        fine: Sequence[Tensor] = (),
    ) -> DecoderOutput:
        """Decode.

        Args:
            image: image embedding (P or 1, C, h, w).
            image_positions: positional encodings (1, C, h, w).
            prompt_tokens: sparse embeddings (P, T, C).
            dense: dense embeddings (P or 1, C, h or 1, w or 1).
            valid: which prompt tokens count (P, T); None for all.
            fine: finer maps of the image (P or 1, c, 2h, 2w) and (P or 1, c, 4h, 4w), of a decoder that takes some.
        """
        height, width = image.shape[2:]
        own = self.own_tokens()
        batch = max(prompt_tokens.shape[0], image.shape[0], dense.shape[0])
        tokens = torch.cat([own.expand(batch, -1, -1), prompt_tokens.expand(batch, -1, -1)], dim=1)
        if valid is not None:
            valid = torch.cat([valid.new_ones(batch, own.shape[0]), valid.expand(batch, -1)], dim=1)
        source = (image + dense).flatten(2).transpose(1, 2)
        tokens, source = self.transformer(source, image_positions.flatten(2).transpose(1, 2), tokens, valid)
        own_tokens = tokens[:, : own.shape[0]]
        tokens = own_tokens[:, self.leading :]
        upscaled = self.upscale(source.transpose(1, 2).unflatten(2, (height, width)), fine)
        weights = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        low_res = self.mask_product(weights, upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        return DecoderOutput(
            low_res=low_res,
            iou=self.predicted_iou(tokens[:, 0]),
            tokens=tokens,
            object_score=self.object_score(own_tokens),
        )
