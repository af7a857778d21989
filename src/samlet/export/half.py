"""Graphs that compute in float16 and take and give float32."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from samlet.export.graphs import DecoderGraph, EncoderGraph
from samlet.models.prompt_encoder import RandomPositions


class HalfEncoder(nn.Module):
    """`EncoderGraph` in float16.

    Args:
        graph: in float32; a copy of it is used.
    """

    def __init__(self, graph: EncoderGraph) -> None:
        super().__init__()
        self.whole = copy.deepcopy(graph).half()

    def forward(self, image: Tensor) -> Tensor:
        """As the graph."""
        return self.whole(image.half()).float()


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
        found = self.whole(embedding.half(), points, labels, mask.half(), has_mask, original_size)
        return tuple(value.float() for value in found)
