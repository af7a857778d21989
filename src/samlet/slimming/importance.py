"""How much each channel of a group matters (SlimSAM, section 3.3 and its table of criteria).

Every criterion but two needs gradients of a loss, image by image. Where they come from (`disturbed_gradients`,
`labelled_gradients`) and how they become scores (`score_weights`, `fisher_scores`) are apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.models import ChannelGroup, ImageEncoder, Sam, maps_of
from samlet.slimming.labels import Labelled, mask_loss

NOISE = 0.01
"""Standard deviation of the noise on the target embedding (SlimSAM, eq. 4)."""

Gradients = dict[str, Tensor]
Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a distributed run."""


def channel_scores(values: Mapping[str, Tensor], groups: Iterable[ChannelGroup]) -> dict[str, Tensor]:
    """Gather a value for each weight into a score for each channel.

    A channel's score in one member is the sum over its row or column, in every copy (head) of the group; the score of
    the channel is the mean over the members.

    Args:
        values: importance of each weight, by parameter name, shaped as the parameter.
        groups: the groups to score.

    Returns:
        (size,) float64 scores by group name.
    """
    scores = {}
    for group in groups:
        channels = torch.arange(group.size)
        total = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            value = values[member.parameter].cpu().double()
            along = value.movedim(member.dim, 0).reshape(value.shape[member.dim], -1).sum(dim=1)
            total += along[member.index(channels)].sum(dim=(0, 2))
        scores[group.name] = total / len(group.members)
    return scores


def group_parameters(encoder: ImageEncoder, groups: Iterable[ChannelGroup]) -> dict[str, Tensor]:
    """The parameters that the groups run along, by name."""
    names = {member.parameter for group in groups for member in group.members}
    return {name: p for name, p in encoder.named_parameters() if name in names}


def disturbed_gradients(
    encoder: ImageEncoder,
    images: Iterable[tuple[int, Tensor]],
    parameters: Mapping[str, Tensor],
    seed: int,
) -> Iterator[Gradients]:
    """Gradients of MSE(t(x), t(x) + noise), one image at a time (SlimSAM, eq. 4).

    With the plain distillation loss an uncut student equals its teacher and has no gradient; the noise on the target
    gives it one. Where an embedding has several maps, each is brought to deviation 1 first, and their losses are
    summed.

    Args:
        encoder: the encoder to be cut.
        images: number and (1, 3, H, W) of each; the number goes into the seed, so that noise does not depend on which
            process scores the image.
        parameters: by name, whose gradients are wanted.
        seed: of the noise.
    """
    for number, image in images:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        with torch.enable_grad():
            maps = maps_of(encoder(image))
            scales = [1.0] if len(maps) == 1 else [float(m.detach().std()) for m in maps]
            losses = [_disturbance(m / scale, generator) for m, scale in zip(maps, scales, strict=True)]
            loss = torch.stack(losses).sum()
        yield dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def _disturbance(values: Tensor, generator: torch.Generator) -> Tensor:
    """MSE(values, values + noise), which has a gradient and, but for the noise, no value."""
    noise = torch.randn(values.shape, generator=generator).to(values) * NOISE
    return F.mse_loss(values, values.detach() + noise)


def labelled_gradients(
    sam: Sam, samples: Iterable[tuple[int, Labelled]], parameters: Mapping[str, Tensor]
) -> Iterator[Gradients]:
    """Gradients of the loss between predicted and labelled masks, one image at a time.

    Args:
        sam: a model whose encoder owns the parameters.
        samples: number and labelled photograph.
        parameters: by name, whose gradients are wanted.
    """
    for _, sample in samples:
        with torch.enable_grad():
            loss = mask_loss(sam, sample)
        yield dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def score_weights(
    parameters: Mapping[str, Tensor],
    gradients: Iterable[Gradients],
    reduce: Reduce = lambda total: total,
) -> dict[str, Tensor]:
    """First-order Taylor importance of every weight: |w · Σg|, as in the published code.

    Args:
        parameters: weights by name.
        gradients: of every image.
        reduce: sums over processes.

    Returns:
        Tensors like the parameters, float64.
    """
    totals = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for gradient in gradients:
        for name, total in totals.items():
            total += gradient[name]
    return {name: (p.detach().double() * reduce(totals[name])).abs() for name, p in parameters.items()}


def fisher_scores(
    parameters: Mapping[str, Tensor],
    gradients: Iterable[Gradients],
    groups: Sequence[ChannelGroup],
    reduce: Reduce = lambda total: total,
) -> dict[str, Tensor]:
    """Diagonal Hessian of a mask on each channel, by its Fisher estimate: Σ over images of the squared Σ w · g.

    A mask over a channel scales all its weights, so its gradient is the sum of w · g over them (Liu et al., "Group
    Fisher Pruning for Practical Network Compression", ICML 2021).

    Args:
        parameters: weights by name.
        gradients: of every image.
        groups: the groups to score.
        reduce: sums over processes.

    Returns:
        (size,) float64 scores by group name.
    """
    totals = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in groups}
    for gradient in gradients:
        products = {name: p.detach() * gradient[name] for name, p in parameters.items()}
        for name, score in channel_scores(products, groups).items():
            totals[name] += score.square()
    return {name: reduce(total) for name, total in totals.items()}


def disturbed_taylor(
    encoder: ImageEncoder, images: Iterable[Tensor], groups: Sequence[ChannelGroup], seed: int
) -> dict[str, Tensor]:
    """Disturbed Taylor importance as published, over images (1, 3, H, W) that are at hand.

    Args:
        encoder: the encoder to be cut; it is left as it is.
        images: (1, 3, H, W) each.
        groups: the groups to score.
        seed: of the noise.

    Returns:
        (size,) float64 scores by group name.
    """
    encoder = copy.deepcopy(encoder).requires_grad_(True)
    parameters = group_parameters(encoder, groups)
    gradients = disturbed_gradients(encoder, enumerate(images), parameters, seed)
    return channel_scores(score_weights(parameters, gradients), groups)


def magnitude(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w| of every weight."""
    return {name: p.detach().abs() for name, p in parameters.items()}


def random_scores(groups: Sequence[ChannelGroup], seed: int) -> dict[str, Tensor]:
    """A uniform random score for every channel."""
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.size, generator=generator, dtype=torch.float64) for g in groups}
