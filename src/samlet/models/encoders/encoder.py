"""What every image encoder and its config offer."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from samlet.models.embedding import Embedding
from samlet.models.groups import ChannelGroup, Segment
from samlet.models.initialisation import Draw


class EncoderConfig:
    """An image encoder's architecture and widths; the configs of the kinds are frozen dataclasses derived from it.

    Attributes:
        kind: name of the kind of encoder in saved configs.
        stride: pixels of the input for each cell of the embedding.
        multiple: the sides of an input are multiples of it, pixels.
        fixed_size_graph: whether a graph of the encoder takes inputs of one size only.
        published_format: the format of published checkpoints that holds such a model, see `samlet.checkpoints.save`.
        publishable_cuts: kinds of channel groups that published formats can hold, cut alike in all blocks.
        image_size: side of the square input that the model was made for, pixels.
        out_channels: channels of the image embedding.
        fine_channels: channels of the finer maps that the embedding has beside it, from coarse to fine, each of half
            the stride of the one before.
    """

    kind: ClassVar[str]
    stride: ClassVar[int] = 16
    multiple: ClassVar[int] = 16
    fixed_size_graph: ClassVar[bool] = False
    published_format: ClassVar[str] = "segment-anything"
    publishable_cuts: ClassVar[frozenset[str]] = frozenset()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    image_size: int
    out_channels: int

    @property
    def fine_channels(self) -> tuple[int, ...]:
        """See the class; none in an encoder whose embedding is one map."""
        return ()

    def map_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Channels, height and width of each map of the embedding of an input of height x width pixels."""
        channels, strides = (self.out_channels, *self.fine_channels), range(1 + len(self.fine_channels))
        return [
            (count, (height << level) // self.stride, (width << level) // self.stride)
            for count, level in zip(channels, strides, strict=True)
        ]


class ImageEncoder(nn.Module, abc.ABC):
    """(B, 3, H, W) normalised image to its embedding; H and W multiples of `config.multiple`.

    Args:
        config: architecture and widths; the weights are untrained.
    """

    config: Any

    @abc.abstractmethod
    def forward(self, image: Tensor) -> Embedding: ...

    @abc.abstractmethod
    def segments(self) -> list[Segment]:
        """The parts of the way from image to embedding, one after the other."""

    @abc.abstractmethod
    def bottleneck_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's H, the inside of every block."""

    @abc.abstractmethod
    def embedding_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's E: the output of every block."""

    @abc.abstractmethod
    def channel_groups(self) -> list[ChannelGroup]:
        """What can be cut."""


@dataclass(frozen=True, kw_only=True)
class EncoderKind:
    """A kind of encoder.

    Attributes:
        config: class of its configs.
        module: class of its modules, built from a config.
        initialise: draws all weights of a module in place for training from scratch; see `models.initialisation`.
    """

    config: type[Any]
    module: Callable[[Any], ImageEncoder]
    initialise: Callable[[Any, Draw], None]
