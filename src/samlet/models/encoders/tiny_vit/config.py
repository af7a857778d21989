"""Configuration of the TinyViT image encoder. Widths are data: one entry a block."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

from samlet.errors import InputError
from samlet.models.checks import check_positive
from samlet.models.encoders.encoder import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class TinyViTConfig(EncoderConfig):
    """The TinyViT image encoder of MobileSAM and TinySAM, batch norms folded into the convolutions.

    Stage 0 is convolutional (MBConv); stages 1 to 3 are windowed attention with a depthwise convolution between
    attention and MLP. Stages end in a merging of patches, which halves the resolution but in the last one.

    Attributes:
        image_size: side of the square input that the model was trained at, pixels.
        stem_dim: channels between the two convolutions of the stem.
        embed_dims: residual width of each of the four stages.
        mbconv_dims: hidden width of each MBConv of stage 0.
        merge_dims: hidden width of each of the three patch mergings.
        num_heads: heads of each block, per stage 1 to 3.
        qk_dims: query and key channels of one head of each block, per stage 1 to 3.
        v_dims: value channels of one head of each block, per stage 1 to 3.
        mlp_dims: hidden width of the MLP of each block, per stage 1 to 3.
        scale_dim: head width of the original model; attention is scaled by `scale_dim ** -0.5`.
        window_sizes: side of an attention window in stages 1 to 3, tokens.
        merge_strides: stride of each patch merging.
        out_channels: channels of the image embedding.
    """

    kind: ClassVar[str] = "tiny_vit"
    published_format: ClassVar[str] = "mobile-sam"
    publishable_cuts: ClassVar[frozenset[str]] = frozenset({"embedding"})

    image_size: int = 1024
    stem_dim: int = 32
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    mbconv_dims: tuple[int, ...] = (256, 256)
    merge_dims: tuple[int, ...] = (128, 160, 320)
    num_heads: tuple[tuple[int, ...], ...] = ((4,) * 2, (5,) * 6, (10,) * 2)
    qk_dims: tuple[tuple[int, ...], ...] = ((32,) * 2, (32,) * 6, (32,) * 2)
    v_dims: tuple[tuple[int, ...], ...] = ((32,) * 2, (32,) * 6, (32,) * 2)
    mlp_dims: tuple[tuple[int, ...], ...] = ((512,) * 2, (640,) * 6, (1280,) * 2)
    scale_dim: int = 32
    window_sizes: tuple[int, ...] = (7, 14, 7)
    merge_strides: tuple[int, ...] = (2, 2, 1)
    out_channels: int = 256

    def __post_init__(self) -> None:
        check_positive("TinyViTConfig", **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        if len(self.embed_dims) != 4 or len(self.merge_dims) != 3 or len(self.num_heads) != 3:
            raise InputError(
                f"TinyViTConfig has {len(self.embed_dims)} embed_dims, {len(self.merge_dims)} merge_dims and "
                f"{len(self.num_heads)} attention stages; expected 4, 3 and 3"
            )
        for name in ("qk_dims", "v_dims", "mlp_dims"):
            value = getattr(self, name)
            if [len(stage) for stage in value] != [len(stage) for stage in self.num_heads]:
                raise InputError(f"TinyViTConfig.{name} is {value}; expected as many entries a stage as num_heads")
        if len(self.window_sizes) != 3 or len(self.merge_strides) != 3:
            raise InputError(
                f"TinyViTConfig has windows {self.window_sizes}, strides {self.merge_strides}; expected 3 each"
            )
        if (
            any(not isinstance(stride, int) for stride in self.merge_strides)
            or 4 * math.prod(self.merge_strides) != self.stride
        ):
            raise InputError(
                f"TinyViTConfig.merge_strides is {self.merge_strides}; expected strides whose product is "
                f"{self.stride // 4}, as an embedding of stride {self.stride} needs"
            )
        if self.image_size % self.stride:
            raise InputError(f"image_size {self.image_size} is not a multiple of the stride {self.stride}")
