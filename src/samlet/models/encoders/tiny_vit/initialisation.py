"""How the weights of a TinyViT are drawn for training from scratch; see `samlet.models.initialisation`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from samlet.models.convolutions import InvertedBottleneck
from samlet.models.encoders.tiny_vit.encoder import Stage, TinyViTBlock, TinyViTEncoder
from samlet.models.initialisation import UNIT, Draw, Moments, after_gelu


def initialise(encoder: TinyViTEncoder, draw: Draw) -> None:
    """Draw all weights in place."""
    draw.stem(encoder.patch_embed)
    stream = UNIT
    for stage in cast(Iterable[Stage], encoder.layers):
        share = stream.variance / len(stage.blocks)
        for block in stage.blocks:
            if isinstance(block, InvertedBottleneck):
                _inverted_bottleneck(block, draw, stream, share)
                stream = after_gelu(stream.plus(share))
            else:
                assert isinstance(block, TinyViTBlock)
                draw.layer(block.attn.qkv)
                draw.layer(block.attn.proj, variance=share / 2)
                draw.layer(block.local_conv)
                draw.layer(block.mlp.fc1)
                draw.layer(block.mlp.fc2, after_gelu(UNIT), share / 2)
                stream = stream.plus(share)
        if isinstance(stage.downsample, InvertedBottleneck):
            _inverted_bottleneck(stage.downsample, draw, stream, 1.0)
            stream = UNIT
    draw.neck(encoder.neck)


def _inverted_bottleneck(block: InvertedBottleneck, draw: Draw, given: Moments, variance: float) -> None:
    draw.layer(block.conv1, given)
    draw.layer(block.conv2, after_gelu(UNIT))
    draw.layer(block.conv3, after_gelu(UNIT), variance)
