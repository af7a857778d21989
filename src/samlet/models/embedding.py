"""The embedding of images: one map, or several of different strides.

SAM's is one map of stride 16, a tensor. SAM 2's has two finer maps beside it, of strides 8 and 4, which its decoder
adds where it draws masks: `Maps`. What takes an `Embedding` takes both. `Maps` answers to the few things that are asked
of a tensor here, of every map or, for `shape`, of the first; all else goes through `maps_of` and `each`.

Shape legend: N images, C channels, h, w cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class Maps:
    """Several maps (N, C, h, w) of the same images; the first is the coarsest, which prompts are compared with.

    Args:
        maps: of strides that halve from one to the next.
    """

    __slots__ = ("maps",)

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self.maps = tuple(maps)

    def __len__(self) -> int:
        return len(self.maps[0])

    def __getitem__(self, images: Any) -> Maps:
        """Some of the images."""
        return self.each(lambda m: m[images])

    def __iter__(self) -> Iterator[Maps]:
        return (self[i] for i in range(len(self)))

    def each(self, do: Callable[[Tensor], Tensor]) -> Maps:
        """The same done with every map."""
        return Maps([do(m) for m in self.maps])

    @property
    def shape(self) -> torch.Size:
        """Of the first map."""
        return self.maps[0].shape

    @property
    def device(self) -> torch.device:
        """Of the maps."""
        return self.maps[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Of the maps."""
        return self.maps[0].dtype

    def to(self, *args: Any, **kwargs: Any) -> Maps:
        """On another device or of another type."""
        return self.each(lambda m: m.to(*args, **kwargs))

    def float(self) -> Maps:
        """In single precision."""
        return self.each(lambda m: m.float())

    def cpu(self) -> Maps:
        """On the CPU."""
        return self.each(lambda m: m.cpu())

    def detach(self) -> Maps:
        """Without gradients."""
        return self.each(lambda m: m.detach())

    def requires_grad_(self, wanted: bool = True) -> Maps:
        """Mark every map as wanting gradients."""
        for m in self.maps:
            m.requires_grad_(wanted)
        return self

    def split(self, images: int) -> list[Maps]:
        """Parts of at most so many images."""
        return [Maps(parts) for parts in zip(*(m.split(images) for m in self.maps), strict=True)]


Embedding = Tensor | Maps


def maps_of(embedding: Embedding) -> tuple[Tensor, ...]:
    """All maps of an embedding, the coarsest first."""
    return embedding.maps if isinstance(embedding, Maps) else (embedding,)


def embedding_of(maps: Sequence[Tensor]) -> Embedding:
    """The embedding that consists of these maps."""
    return maps[0] if len(maps) == 1 else Maps(maps)


def each_map(embedding: Embedding, do: Callable[[Tensor], Tensor]) -> Embedding:
    """The same done with every map."""
    return embedding_of([do(m) for m in maps_of(embedding)])


def joined(embeddings: Sequence[Embedding]) -> Embedding:
    """(n, C, h, w) of some images each as one embedding of all."""
    return embedding_of([torch.cat(maps) for maps in zip(*map(maps_of, embeddings), strict=True)])


def stacked(embeddings: Sequence[Embedding]) -> Embedding:
    """(C, h, w) of one image each as one embedding of all."""
    return embedding_of([torch.stack(maps) for maps in zip(*map(maps_of, embeddings), strict=True)])
