"""A student from scratch: an encoder with weights of its own, and what it shares with its teacher."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from samlet.data.bundled import bundled_photographs
from samlet.data.images import read_image
from samlet.distillation.examples import Preparation
from samlet.models import EncoderConfig, Sam, TinyViTConfig, maps_of
from samlet.models.encoders import initialise

_LOOKED_AT = 2  # photographs
_SIZE = 256  # pixels

OWN_INITIALISATION = "tiny_vit"
"""The name that stands for a student of no model."""


def fresh_student(teacher: Sam, seed: int = 0, encoder: EncoderConfig | None = None) -> Sam:
    """A student that has learned nothing yet, with the teacher's prompt encoder and mask decoder.

    Its encoder's weights are drawn so that variance is kept through its depth, see `models.initialisation`, and its
    embedding has the deviation of the teacher's from the start: Adam would take a thousand steps to change the scale of
    the last norm by 1 at a learning rate of 1e-3.

    Args:
        teacher: whose masks and images the student shares: preprocessing, threshold, scores.
        seed: of the encoder's weights.
        encoder: its architecture, with as many channels of the embedding as the teacher's; TinyViT-5M if None.
    """
    config = encoder or TinyViTConfig(image_size=teacher.image_size, out_channels=teacher.config.encoder.out_channels)
    with torch.random.fork_rng(devices=[]):
        student = Sam(dataclasses.replace(teacher.config, encoder=config)).eval()
    initialise(student.image_encoder, seed, _deviation(teacher))
    student.prompt_encoder.load_state_dict(teacher.prompt_encoder.state_dict())
    student.mask_decoder.load_state_dict(teacher.mask_decoder.state_dict())
    return student.to(teacher.device)


@torch.no_grad()
def _deviation(teacher: Sam) -> float:
    """Of the embedding's values, on photographs that samlet brings along.

    It is rounded to two digits, so that a student does not depend on who computes it: a run that was stopped continues
    with another number of threads.
    """
    prepare = Preparation.of(teacher, min(_SIZE, teacher.image_size))
    images: list[Tensor] = [prepare(read_image(path))[0] for path in bundled_photographs()[:_LOOKED_AT]]
    return float(f"{float(maps_of(teacher.encode(torch.stack(images).to(teacher.device)))[0].std()):.1e}")
