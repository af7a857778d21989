"""Graphs that compute in float16 and take and give float32."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from samlet.export.graphs import DecoderGraph, EncoderGraph, FineDecoderGraph
from samlet.models.decoders.sam.prompt_encoder import RandomPositions


class HalfEncoder(nn.Module):
    """`EncoderGraph` in float16.

    Args:
        graph: in float32; a copy of it is used.
    """

    def __init__(self, graph: EncoderGraph) -> None:
        super().__init__()
        self.whole = copy.deepcopy(graph).half()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """As the graph."""
        return tuple(value.float() for value in self.whole(image.half()))


class HalfDecoder(nn.Module):
    """`DecoderGraph` in float16. Positions stay float32: float16 counts pixels beyond 1024 by ones or more.

    Args:
        graph: in float32; a copy of it is used.
    """

    def __init__(self, graph: DecoderGraph) -> None:
        super().__init__()
        self.whole = copy.deepcopy(graph).half()
        for layer in self.whole.modules():
            if isinstance(layer, RandomPositions):
                layer.float()

    def forward(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As the graph."""
        return self.decode([embedding], points, labels, mask, has_mask, original_size)

    def decode(
        self,
        maps: Sequence[Tensor],
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """As the graph's `decode`."""
        half = [m.half() for m in maps]
        found = self.whole.decode(half, points, labels, mask.half(), has_mask, original_size)
        return tuple(value.float() for value in found)


class HalfFineDecoder(HalfDecoder):
    """`FineDecoderGraph` in float16; see `HalfDecoder`."""

    def forward(  # type: ignore[override]
        self,
        embedding: Tensor,
        fine_0: Tensor,
        fine_1: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        original_size: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As the graph."""
        return self.decode([embedding, fine_0, fine_1], points, labels, mask, has_mask, original_size)


def half_decoder(graph: DecoderGraph) -> HalfDecoder:
    """A decoder's graph in float16."""
    return HalfFineDecoder(graph) if isinstance(graph, FineDecoderGraph) else HalfDecoder(graph)
