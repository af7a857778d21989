"""Configuration of the Hiera image encoder. Widths are data: one entry a block."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from samlet.errors import InputError
from samlet.models.checks import check_positive
from samlet.models.encoders.encoder import EncoderConfig

_STAGES = 4


@dataclass(frozen=True, kw_only=True)
class HieraConfig(EncoderConfig):
    """The Hiera image encoder of SAM 2 with its feature pyramid.

    Four stages at strides 4, 8, 16 and 32. The first block of stages 1 to 3 halves the resolution and changes the
    width. The defaults are those of the published Hiera-T.

    Attributes:
        image_size: side of the square input that the model was trained at, pixels.
        embed_dims: residual width of each of the four stages.
        num_heads: heads of each block, per stage.
        qk_dims: query and key channels of one head of each block, per stage.
        v_dims: value channels of one head of each block, per stage.
        mlp_dims: hidden width of the MLP of each block, per stage.
        scale_dim: head width of the original model; attention is scaled by `scale_dim ** -0.5`.
        window_sizes: side of an attention window in each stage, tokens; the first block of a stage, which looks at the
            tokens of the stage before, has that stage's.
        global_blocks: indices of the blocks, counted over all stages, that attend to the whole image.
        position_side: side of the table of absolute positions, which is resampled to the patches of any image.
        lateral_dims: channels between the two 1×1 convolutions that make a fine map, of strides 8 and 4.
        fine_dims: channels of the fine maps, of strides 8 and 4.
        out_channels: channels of the map of stride 16.
    """

    kind: ClassVar[str] = "hiera"
    multiple: ClassVar[int] = 32
    fixed_size_graph: ClassVar[bool] = True  # positions are resampled and windows padded to the input
    published_format: ClassVar[str] = "sam2"

    image_size: int = 1024
    embed_dims: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[tuple[int, ...], ...] = ((1,), (2,) * 2, (4,) * 7, (8,) * 2)
    qk_dims: tuple[tuple[int, ...], ...] = ((96,), (96,) * 2, (96,) * 7, (96,) * 2)
    v_dims: tuple[tuple[int, ...], ...] = ((96,), (96,) * 2, (96,) * 7, (96,) * 2)
    mlp_dims: tuple[tuple[int, ...], ...] = ((384,), (768,) * 2, (1536,) * 7, (3072,) * 2)
    scale_dim: int = 96
    window_sizes: tuple[int, ...] = (8, 4, 14, 7)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    position_side: int = 7
    lateral_dims: tuple[int, ...] = (256, 256)
    fine_dims: tuple[int, ...] = (64, 32)
    out_channels: int = 256

    def __post_init__(self) -> None:
        check_positive(
            "HieraConfig",
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "global_blocks"},
        )
        for name in ("embed_dims", "num_heads", "qk_dims", "v_dims", "mlp_dims", "window_sizes"):
            value = getattr(self, name)
            if len(value) != _STAGES:
                raise InputError(f"HieraConfig.{name} is {value}; expected {_STAGES} entries, one for each stage")
        for name in ("qk_dims", "v_dims", "mlp_dims"):
            value = getattr(self, name)
            if [len(stage) for stage in value] != [len(stage) for stage in self.num_heads]:
                raise InputError(f"HieraConfig.{name} is {value}; expected as many entries a stage as num_heads")
        if any(not stage for stage in self.num_heads):
            raise InputError(f"HieraConfig.num_heads is {self.num_heads}; expected at least one block a stage")
        if len(self.lateral_dims) != 2 or len(self.fine_dims) != 2:
            raise InputError(
                f"HieraConfig has lateral_dims {self.lateral_dims} and fine_dims {self.fine_dims}; expected 2 each"
            )
        openings = self.openings
        if any(block not in range(self.depth) or block in openings for block in self.global_blocks):
            raise InputError(
                f"HieraConfig.global_blocks is {self.global_blocks}; expected indices below {self.depth}, and none of "
                f"{list(openings)}, which open a stage"
            )
        if any(size % 2 for size in self.window_sizes[:-1]):
            raise InputError(
                f"HieraConfig.window_sizes is {self.window_sizes}; expected even ones in stages 0 to 2, whose windows "
                "are halved by the next stage"
            )
        if self.image_size % self.multiple:
            raise InputError(f"image_size {self.image_size} is not a multiple of {self.multiple}")

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(len(stage) for stage in self.num_heads)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(self.depths)

    @property
    def openings(self) -> tuple[int, ...]:
        """Indices of the blocks that open stages 1 to 3, counted over all stages."""
        return tuple(sum(self.depths[:stage]) for stage in range(1, _STAGES))

    @property
    def fine_channels(self) -> tuple[int, ...]:
        """Of the maps of strides 8 and 4."""
        return self.fine_dims

    @classmethod
    def published(
        cls,
        *,
        embed_dim: int,
        num_heads: int,
        depths: tuple[int, ...],
        global_blocks: tuple[int, ...],
        window_sizes: tuple[int, ...] = (8, 4, 14, 7),
        position_side: int = 7,
        image_size: int = 1024,
    ) -> HieraConfig:
        """Width and heads of stage 0, doubled from stage to stage, as in the published Hiera-T, S, B+ and L."""
        heads = tuple((num_heads * 2**stage,) * depth for stage, depth in enumerate(depths))
        head_dims = tuple((embed_dim // num_heads,) * depth for depth in depths)
        return cls(
            image_size=image_size,
            embed_dims=tuple(embed_dim * 2**stage for stage in range(_STAGES)),
            num_heads=heads,
            qk_dims=head_dims,
            v_dims=head_dims,
            mlp_dims=tuple((4 * embed_dim * 2**stage,) * depth for stage, depth in enumerate(depths)),
            scale_dim=embed_dim // num_heads,
            window_sizes=window_sizes,
            global_blocks=global_blocks,
            position_side=position_side,
        )


PUBLISHED: dict[str, HieraConfig] = {
    "tiny": HieraConfig(),
    "small": HieraConfig.published(embed_dim=96, num_heads=1, depths=(1, 2, 11, 2), global_blocks=(7, 10, 13)),
    "base_plus": HieraConfig.published(
        embed_dim=112, num_heads=2, depths=(2, 3, 16, 3), global_blocks=(12, 16, 20), position_side=14
    ),
    "large": HieraConfig.published(
        embed_dim=144, num_heads=2, depths=(2, 6, 36, 4), global_blocks=(23, 33, 43), window_sizes=(8, 4, 16, 8)
    ),
}
"""The four encoders of SAM 2 and 2.1 by the names of their files."""
