"""Where the masks so far leave nothing to ask: the map that samlet's own hierarchical everything mode goes by.

TinySAM takes a place as settled where the logits of any good and stable mask exceed a threshold
(`CropMasks.exceeded`). That also settles small things inside large masks. The consensus looks at three signs, each of
one value a patch:

- the mean of the four highest logits there, of different prompts;
- how alike the patch's embedding is to the mean embedding of a good mask's core that it lies in (cosine);
- how alike it is to its own 5x5 neighbourhood (cosine), which is low near small things and edges.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_VOTES = 4
_CORE = 4.0  # logits that make a mask's core
_NEIGHBOURHOOD = 5
_LOGITS, _CORE_LIKENESS, _NEIGHBOUR_LIKENESS = 0.176, 7.02, 7.02
"""Weights of the three signs, chosen on photographs, and scaled so that TinySAM's threshold, 8.5, stays the default."""


class Coverage:
    """How settled each patch of an image is.

    Args:
        embedding: (1, C, h, w).
        rows: rows of patches that the image reaches.
        columns: columns of patches that the image reaches.
    """

    def __init__(self, embedding: Tensor, rows: int, columns: int) -> None:
        features = embedding[0, :, :rows, :columns].float()
        features = features - features.mean(dim=(1, 2), keepdim=True)
        self._features = F.normalize(features, dim=0)
        near = F.avg_pool2d(self._features[None], _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False)[0]
        self._like_neighbours = (self._features * F.normalize(near, dim=0)).sum(dim=0)
        self._top = torch.full((_VOTES, rows, columns), -torch.inf, device=embedding.device)
        self._alike = torch.full((rows, columns), -1.0, device=embedding.device)

    def add(self, samples: Tensor, good: Tensor) -> None:
        """Take note of masks: logits (P, M, rows, columns), and which masks are good (P, M)."""
        logits = samples.masked_fill(~good[..., None, None], -torch.inf)
        self._top = torch.cat([self._top, logits.amax(dim=1)]).topk(len(self._top), dim=0).values
        if not bool(good.any()):
            return
        core = (samples[good] > _CORE).flatten(1)  # (N, s)
        flat = self._features.flatten(1)  # (C, s)
        mean = F.normalize(core.to(flat.dtype) @ flat.T, dim=1)
        alike = (mean @ flat).masked_fill(~core, -1.0).amax(dim=0)
        self._alike = torch.maximum(self._alike, alike.view_as(self._alike))

    def score(self) -> Tensor:
        """How settled each patch is, (rows, columns); comparable to a logit."""
        votes = self._top.clamp(min=-50.0).mean(dim=0)
        return _LOGITS * votes + _CORE_LIKENESS * self._alike + _NEIGHBOUR_LIKENESS * self._like_neighbours
