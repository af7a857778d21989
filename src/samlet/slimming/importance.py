"""How much each channel of a group matters (SlimSAM, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.models import ChannelGroup, ImageEncoder

NOISE = 0.01
"""Standard deviation of the noise on the target embedding (SlimSAM, eq. 4)."""


def channel_scores(values: Mapping[str, Tensor], groups: Iterable[ChannelGroup]) -> dict[str, Tensor]:
    """Gather a value for each weight into a score for each channel.

    A channel's score in one member is the sum over its row or column, in every copy (head) of the group; the score of
    the channel is the mean over the members.

    Args:
        values: importance of each weight, by parameter name, shaped as the parameter.
        groups: the groups to score.

    Returns:
        (size,) scores by group name.
    """
    scores = {}
    for group in groups:
        channels = torch.arange(group.size)
        total = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            value = values[member.parameter].cpu().double()
            along = value.movedim(member.dim, 0).reshape(value.shape[member.dim], -1).sum(dim=1)
            total += along[member.index(channels)].sum(dim=0)
        scores[group.name] = total / len(group.members)
    return scores


def disturbed_taylor(
    encoder: ImageEncoder, images: Iterable[Tensor], groups: Iterable[ChannelGroup], seed: int
) -> dict[str, Tensor]:
    """Disturbed Taylor importance: |w · ∂L/∂w| with L = MSE(t(x), t(x) + noise); needs no labels (SlimSAM, eq. 4).

    With the plain distillation loss an uncut student equals its teacher and has no gradient; the noise on the target
    gives it one. Gradients are summed over the images.

    Args:
        encoder: the encoder to be cut; its weights are left as they are.
        images: batches (B, 3, H, W).
        groups: the groups to score.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    names = {member.parameter for group in groups for member in group.members}
    parameters = {name: p for name, p in encoder.named_parameters() if name in names}
    gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch in images:
        embedding = encoder(batch)
        noise = torch.randn(embedding.shape, generator=generator).to(embedding) * NOISE
        loss = F.mse_loss(embedding, embedding.detach() + noise)
        for gradient, new in zip(gradients.values(), torch.autograd.grad(loss, list(parameters.values())), strict=True):
            gradient += new
    with torch.no_grad():
        values = {name: (p * gradients[name]).abs() for name, p in parameters.items()}
    return channel_scores(values, groups)
