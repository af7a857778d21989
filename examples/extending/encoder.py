"""An image encoder of one's own: strided convolutions, then residual blocks, slimmed by the groups that it declares.

>>> import encoder  # registers it
>>> small = samlet.slim(encoder.model(), "photos", ratio=0.5, steps=0, image_size=64)
>>> samlet.save(small, "small")  # loads wherever this module was imported
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import samlet
from samlet.models import EncoderConfig, ImageEncoder, Sam, SamConfig
from samlet.models.encoders import EncoderKind
from samlet.models.groups import ChannelGroup, Segment, columns, rows_and_bias, stream_groups
from samlet.models.initialisation import UNIT, Draw, after_gelu


@dataclass(frozen=True, kw_only=True)
class PlainConfig(EncoderConfig):
    """Widths: of the stem's three layers, of the residual stream, and inside each block."""

    kind: ClassVar[str] = "plain"

    stem_dims: tuple[int, ...] = (16, 32, 48)
    embed_dims: tuple[int, ...] = (64,)
    hidden_dims: tuple[int, ...] = (128, 128)
    out_channels: int = 256
    image_size: int = 64


class Block(nn.Module):
    """x + fc2(GELU(fc1(x))), (B, C, H, W) to the same."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, hidden_dim, 3, padding=1), nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.fc2(F.gelu(self.fc1(x)))


class PlainEncoder(ImageEncoder):
    """(B, 3, H, W) to (B, 256, H / 16, W / 16)."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        dims = (3, *config.stem_dims, config.embed_dims[0])
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(dims):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
        self.stem = nn.Sequential(*layers[:-1])
        self.blocks = nn.ModuleList(Block(dims[-1], hidden) for hidden in config.hidden_dims)
        self.project = nn.Conv2d(dims[-1], config.out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        for segment in self.segments():
            image = segment.run(image)
        return image

    def segments(self) -> list[Segment]:
        """Stem, blocks, projection."""
        names = ["stem", *(f"blocks.{i}" for i in range(len(self.blocks))), "project"]
        return [Segment((name,), self.get_submodule(name)) for name in names]

    def bottleneck_features(self) -> list[str]:
        """The inside of every block."""
        return [f"blocks.{i}.fc1" for i in range(len(self.blocks))]

    def embedding_features(self) -> list[str]:
        """The output of every block."""
        return [f"blocks.{i}" for i in range(len(self.blocks))]

    def channel_groups(self) -> list[ChannelGroup]:
        """The residual stream; each layer of the stem; the inside of each block."""
        config = self.config
        last = 2 * len(config.stem_dims)
        stream = [*rows_and_bias(f"stem.{last}"), *columns("project")]
        groups = []
        for i, width in enumerate(config.stem_dims):
            members = [*rows_and_bias(f"stem.{2 * i}"), *columns(f"stem.{2 * i + 2}")]
            groups.append(_inside(f"stem.{i}", "stem", width, members, ("stem_dims", i)))
        for i, width in enumerate(config.hidden_dims):
            stream += [*columns(f"blocks.{i}.fc1"), *rows_and_bias(f"blocks.{i}.fc2")]
            members = [*rows_and_bias(f"blocks.{i}.fc1"), *columns(f"blocks.{i}.fc2")]
            groups.append(_inside(f"blocks.{i}", "convolution", width, members, ("hidden_dims", i)))
        return stream_groups([stream], config.embed_dims) + groups


def _inside(name: str, family: str, size: int, members: list, path: tuple[str | int, ...]) -> ChannelGroup:
    return ChannelGroup(
        name=name,
        kind="bottleneck",
        family=family,
        size=size,
        divisor=8,
        members=tuple(members),
        config_path=path,
        stage=0,
    )


def initialise(encoder: PlainEncoder, draw: Draw) -> None:
    """Draw all weights in place, so that variance is kept."""
    for number, layer in enumerate(encoder.stem):
        if isinstance(layer, nn.Conv2d):
            draw.layer(layer, after_gelu(UNIT) if number else UNIT)
    stream = UNIT
    for block in encoder.blocks:
        draw.layer(block.fc1, stream)
        draw.layer(block.fc2, after_gelu(UNIT), 1 / len(encoder.blocks))
        stream = stream.plus(1 / len(encoder.blocks))
    draw.layer(encoder.project, stream)


samlet.register_encoder(EncoderKind(config=PlainConfig, module=PlainEncoder, initialise=initialise))


def model() -> Sam:
    """A model with this encoder and SAM's decoder, untrained."""
    return Sam(SamConfig(encoder=PlainConfig())).eval()
