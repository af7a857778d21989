"""Configuration of SAM's ViTDet image encoder. Widths are data: one entry a block."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from samlet.errors import InputError
from samlet.models.checks import check_lengths, check_positive
from samlet.models.encoders.encoder import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class ViTConfig(EncoderConfig):
    """SAM's ViTDet image encoder.

    Attributes:
        image_size: side of the square input that the position tables were made for, pixels.
        patch_size: side of a patch, pixels.
        embed_dim: width of the residual stream.
        num_heads: attention heads of each block.
        qk_dims: query and key channels of one head, of each block.
        v_dims: value channels of one head, of each block.
        mlp_dims: hidden width of the MLP of each block.
        scale_dim: head width of the original model. Attention is scaled by `scale_dim ** -0.5`, also after pruning.
        window_size: side of an attention window, tokens.
        global_blocks: indices of the blocks that attend to the whole image.
        out_channels: channels of the image embedding.
        position_side: side of the table of absolute positions, patches; that of the whole image if None. EfficientSAM
            keeps the table of its pretraining.
        relative_positions: whether attention has relative positions, as SAM's does.
    """

    kind: ClassVar[str] = "vit"
    publishable_cuts: ClassVar[frozenset[str]] = frozenset({"embedding", "bottleneck"})
    fixed_size_graph: ClassVar[bool] = True  # position tables are resampled to the input, which no graph can hold open

    image_size: int = 1024
    patch_size: int = 16
    embed_dim: int
    num_heads: tuple[int, ...]
    qk_dims: tuple[int, ...]
    v_dims: tuple[int, ...]
    mlp_dims: tuple[int, ...]
    scale_dim: int
    window_size: int = 14
    global_blocks: tuple[int, ...]
    out_channels: int = 256
    position_side: int | None = None
    relative_positions: bool = True

    def __post_init__(self) -> None:
        no_widths = {"global_blocks", "relative_positions"} | (
            {"position_side"} if self.position_side is None else set()
        )
        check_positive(
            "ViTConfig",
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in no_widths},
        )
        check_lengths("ViTConfig", self.depth, qk_dims=self.qk_dims, v_dims=self.v_dims, mlp_dims=self.mlp_dims)
        if any(not 0 <= block < self.depth for block in self.global_blocks):
            raise InputError(f"ViTConfig.global_blocks is {self.global_blocks}; expected indices below {self.depth}")
        if self.image_size % self.patch_size:
            raise InputError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.num_heads)

    @classmethod
    def uniform(
        cls,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        global_blocks: tuple[int, ...],
        mlp_dim: int | None = None,
        head_dim: int | None = None,
        scale_dim: int | None = None,
        image_size: int = 1024,
    ) -> ViTConfig:
        """The same widths in every block, as SAM-B, L, H and the uniform SlimSAM models have them."""
        head_dim = head_dim or embed_dim // num_heads
        return cls(
            image_size=image_size,
            embed_dim=embed_dim,
            num_heads=(num_heads,) * depth,
            qk_dims=(head_dim,) * depth,
            v_dims=(head_dim,) * depth,
            mlp_dims=(mlp_dim or 4 * embed_dim,) * depth,
            scale_dim=scale_dim or head_dim,
            global_blocks=global_blocks,
        )
