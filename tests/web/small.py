"""A model whose graphs are written in seconds."""

from __future__ import annotations

import dataclasses

from samlet.models import Sam, SamConfig, TinyViTConfig
from tests.conftest import CHANNELS, SMALL_DECODER, randomise


def small_sam() -> Sam:
    """One convolutional stage, one block of attention, two stages that only merge; 64 px, random weights."""
    encoder = TinyViTConfig(
        image_size=64,
        stem_dim=8,
        embed_dims=(16, 16, 24, 32),
        mbconv_dims=(24,),
        merge_dims=(24, 24, 32),
        num_heads=((2,), (), ()),
        qk_dims=((8,), (), ()),
        v_dims=((12,), (), ()),
        mlp_dims=((72,), (), ()),
        scale_dim=8,
        window_sizes=(3, 4, 3),
        out_channels=CHANNELS,
    )
    decoder = dataclasses.replace(SMALL_DECODER, depth=1, num_heads=2, iou_head_depth=2)
    sam = Sam(SamConfig(encoder=encoder, decoder=decoder)).eval()
    randomise(sam)
    return sam
