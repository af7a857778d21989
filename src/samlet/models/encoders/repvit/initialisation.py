"""How the weights of a RepViT are drawn for training from scratch; see `samlet.models.initialisation`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from samlet.models.encoders.repvit.encoder import HalvingBlock, RepViTBlock, RepViTEncoder
from samlet.models.initialisation import GATES, UNIT, Draw, after_gelu


def initialise(encoder: RepViTEncoder, draw: Draw) -> None:
    """Draw all weights in place."""
    draw.stem(encoder.patch_embed)
    stream = UNIT
    for number, stage in enumerate(cast(Iterable[nn.Sequential], encoder.stages)):
        for block in cast(Iterable[RepViTBlock | HalvingBlock], stage):
            if isinstance(block, HalvingBlock):
                draw.layer(block.local_conv)
                draw.layer(block.project, stream)
                stream = UNIT
            elif block.squeeze is None:
                draw.layer(block.local_conv)
            else:
                draw.layer(block.local_conv, variance=4.0)  # the gates halve it
                draw.layer(block.squeeze.fc1, stream)
                draw.layer(block.squeeze.fc2, variance=GATES)
            draw.layer(block.mixer.fc1, stream)
            draw.layer(block.mixer.fc2, after_gelu(UNIT), 1 / len(stage))
            stream = stream.plus(1 / len(stage))
        if number >= 2:
            draw.layer(encoder.fuse_stage2 if number == 2 else encoder.fuse_stage3, stream)
    draw.neck(encoder.neck)
