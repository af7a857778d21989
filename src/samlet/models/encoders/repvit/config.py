"""Configuration of the RepViT image encoder. Widths are data: one entry a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from samlet.errors import InputError
from samlet.io.schema import shown
from samlet.models.checks import check_blocks
from samlet.models.encoders.encoder import EncoderConfig


def _check_widths(name: str, value: Any, least: int = 1) -> None:
    """Refuse anything but whole numbers of at least `least`, at every depth of tuples."""
    entries = [value]
    while entries:
        entry = entries.pop()
        if isinstance(entry, tuple):
            entries += entry
        elif not isinstance(entry, int) or isinstance(entry, bool) or entry < least:
            raise InputError(
                f"RepViTConfig.{name} is {shown(value)}; every width must be a whole number of at least {least}"
            )


@dataclass(frozen=True, kw_only=True)
class RepViTConfig(EncoderConfig):
    """The RepViT image encoder of EdgeSAM, every branch and batch norm folded into one convolution.

    Four stages at strides 4, 8, 16 and 32. Stages 1 to 3 begin with a block that halves the resolution and changes the
    width; all other blocks keep both. The defaults are those of the published model.

    Attributes:
        image_size: side of the square input that the model was trained at, pixels.
        stem_dim: channels between the two convolutions of the stem.
        embed_dims: residual width of each of the four stages.
        mixer_dims: hidden width of the channel mixer of each block, per stage.
        squeeze_dims: hidden width of the squeeze-and-excitation of each block, per stage; 0 where a block has none, as
            the halving blocks always do.
        out_channels: channels of the image embedding.
    """

    kind: ClassVar[str] = "repvit"

    image_size: int = 1024
    stem_dim: int = 24
    embed_dims: tuple[int, ...] = (48, 96, 192, 384)
    mixer_dims: tuple[tuple[int, ...], ...] = ((96,) * 3, (192,) * 4, (384,) * 16, (768,) * 3)
    squeeze_dims: tuple[tuple[int, ...], ...] = ((16, 0, 0), (0, 24, 0, 0), (0, *(48, 0) * 7, 0), (0, 96, 0))
    out_channels: int = 256

    def __post_init__(self) -> None:
        for name in ("mixer_dims", "squeeze_dims"):
            for stage in getattr(self, name):
                check_blocks("RepViTConfig", **{name: stage if isinstance(stage, tuple) else ()})
        for name in ("image_size", "stem_dim", "embed_dims", "mixer_dims", "out_channels"):
            _check_widths(name, getattr(self, name))
        _check_widths("squeeze_dims", self.squeeze_dims, least=0)
        stages = {name: len(getattr(self, name)) for name in ("embed_dims", "mixer_dims", "squeeze_dims")}
        if set(stages.values()) != {4}:
            found = ", ".join(f"{count} {name}" for name, count in stages.items())
            raise InputError(f"RepViTConfig has {found}; expected 4 each, one for each stage")
        if any(not stage for stage in self.mixer_dims):
            raise InputError(f"RepViTConfig.mixer_dims is {self.mixer_dims}; expected at least one block a stage")
        if [len(stage) for stage in self.squeeze_dims] != [len(stage) for stage in self.mixer_dims]:
            raise InputError(
                f"RepViTConfig.squeeze_dims is {self.squeeze_dims}; expected as many entries a stage as mixer_dims"
            )
        if any(stage[0] for stage in self.squeeze_dims[1:]):
            raise InputError(
                f"RepViTConfig.squeeze_dims is {self.squeeze_dims}; expected 0 first in stages 1 to 3, whose first "
                "block halves the resolution and has no squeeze-and-excitation"
            )
        if self.image_size % self.stride:
            raise InputError(f"image_size {self.image_size} is not a multiple of the stride {self.stride}")

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(len(stage) for stage in self.mixer_dims)
