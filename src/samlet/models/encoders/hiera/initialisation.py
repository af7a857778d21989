"""How the weights of a Hiera are drawn for training from scratch; see `samlet.models.initialisation`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from samlet.models.encoders.hiera.encoder import HieraBlock, HieraEncoder
from samlet.models.initialisation import POSITIONS, UNIT, Draw, Moments, after_gelu


def initialise(encoder: HieraEncoder, draw: Draw) -> None:
    """Draw all weights in place."""
    patches, config = encoder.patch_embed, encoder.config
    draw.layer(patches.proj)
    for table in (patches.pos_embed, patches.pos_embed_window):
        table.copy_(POSITIONS * draw.normal(table))
    shares = [1 / depth for depth in config.depths for _ in range(depth)]
    stream, ended = UNIT, []
    for number, block in enumerate(cast(Iterable[HieraBlock], encoder.blocks)):
        if block.proj is not None:
            ended.append(stream)
            draw.layer(block.proj)
            stream = UNIT
        draw.layer(block.attn.qkv)
        draw.layer(block.attn.proj, variance=shares[number] / 2)
        draw.layer(block.mlp.fc1)
        draw.layer(block.mlp.fc2, after_gelu(UNIT), shares[number] / 2)
        stream = stream.plus(shares[number])
    _pyramid(encoder, draw, [*ended, stream])


def _pyramid(encoder: HieraEncoder, draw: Draw, stages: list[Moments]) -> None:
    """Each of the two that make the map of stride 16 gives half of its variance."""
    variance = draw.deviation**2
    for stage, lateral in enumerate(cast(Iterable[nn.Conv2d], encoder.neck.lateral)):
        draw.layer(lateral, stages[stage], variance / 2 if stage >= 2 else 1.0)
    for fine in cast(Iterable[nn.Conv2d], encoder.neck.fine):
        draw.layer(fine, variance=variance)
