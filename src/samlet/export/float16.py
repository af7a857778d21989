"""Graphs that compute in float16 and take and give float32."""

from __future__ import annotations

import copy
from typing import TypeVar

from samlet.export.graphs import DecoderGraph, EncoderGraph
from samlet.models.decoders.sam.prompt_encoder import RandomPositions

AnyGraph = TypeVar("AnyGraph", EncoderGraph, DecoderGraph)


def in_half(graph: AnyGraph) -> AnyGraph:
    """A copy of a graph in float16. Positions stay float32: float16 counts pixels beyond 1024 by ones or more."""
    made = copy.deepcopy(graph).half()
    for layer in made.modules():
        if isinstance(layer, RandomPositions):
            layer.float()
    made.in_half = True
    return made
