"""How the weights of a ViT are drawn for training from scratch; see `samlet.models.initialisation`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from samlet.models.encoders.vit.encoder import ViTBlock, ViTEncoder
from samlet.models.initialisation import POSITIONS, UNIT, Draw, after_gelu


def initialise(encoder: ViTEncoder, draw: Draw) -> None:
    """Draw all weights in place."""
    draw.layer(encoder.patch_embed.proj)
    encoder.pos_embed.copy_(POSITIONS * draw.normal(encoder.pos_embed))
    share = 1 / len(encoder.blocks)
    for block in cast(Iterable[ViTBlock], encoder.blocks):
        draw.layer(block.attn.qkv)
        draw.layer(block.attn.proj, variance=share / 2)
        draw.layer(block.mlp.lin1)
        draw.layer(block.mlp.lin2, after_gelu(UNIT), share / 2)
    draw.neck(encoder.neck)
