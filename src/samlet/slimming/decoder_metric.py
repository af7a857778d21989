"""What the mask decoder reads of an image embedding, as a metric on its channels; of several maps, of the coarsest.

Masks change much with some directions of the embedding's channels and hardly with others. With g the gradient of the
decoder's masks by the embedding, M = mean of g·gᵀ over positions, prompts and photographs measures that, and
(t - t')ᵀ M (t - t') weights an error by what it does to the masks, to first order.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from samlet.models import Sam, embedding_of, maps_of, trained_outputs

_SIDE = 4
_SHARE = 0.5


def decoder_reading(sam: Sam, images: Iterable[Tensor], seed: int = 0) -> Tensor:
    """A matrix A with AᵀA = half the identity, half M, scaled to M's trace being C: |A·e|² is the weighted error.

    Half identity, so that no direction is left free.

    Args:
        sam: the teacher; its prompt encoder and mask decoder stay with the student.
        images: (1, 3, H, W) each.
        seed: of the random signs that stand for the masks' pixels (Hutchinson's estimate).

    Returns:
        (C, C) on the model's device.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = sam.config.encoder.out_channels
    total = torch.zeros(channels, channels, dtype=torch.float64)
    for image in images:
        with torch.no_grad():
            maps = maps_of(sam.encode(image))
        embedding = maps[0].detach().requires_grad_(True)
        cells = (torch.arange(_SIDE, device=embedding.device) + 0.5) * image.shape[-1] / _SIDE
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        points = torch.stack([x, y], dim=-1).view(-1, 1, 2)
        labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
        with torch.enable_grad():
            logits = trained_outputs(sam, sam.decode(embedding_of([embedding, *maps[1:]]), points, labels)).low_res
            signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
            (gradient,) = torch.autograd.grad((logits * signs).sum(), embedding)
        rows = gradient[0].flatten(1).double().cpu()
        total += rows @ rows.T
    metric = (1 - _SHARE) * torch.eye(channels, dtype=torch.float64) + _SHARE * total * channels / total.trace()
    values, vectors = torch.linalg.eigh(metric)
    return (vectors * values.clamp(min=0).sqrt() @ vectors.T).float().to(sam.device)
