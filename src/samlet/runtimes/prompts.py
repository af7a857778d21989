"""Prompts as an exported decoder takes them: clicks and corners of boxes in one list, filled up where sizes are fixed.

Shape legend: P prompts, K clicks and corners a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.errors import InputError
from samlet.models.decoders.sam.prompt_encoder import PADDING

_CORNERS = (2, 3)  # labels of the first and second corner of a box


@dataclass(frozen=True)
class Clicks:
    """Prompts of one image.

    Attributes:
        points: (P, K, 2) pixels of the encoder's input, x before y.
        labels: (P, K) 1 foreground, 0 background, 2 and 3 corners of a box, -1 SAM's filler, -2 padding.
        masks: (P, 1, 4h, 4w) logits of earlier answers; None for none.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor | None

    @classmethod
    def of(cls, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None) -> Clicks:
        """Prompts as `Sam.decode` takes them; the corners of a box come first. One empty prompt where there is none."""
        count = next((len(given) for given in (points, boxes, masks) if given is not None), 1)
        places = [torch.zeros(count, 0, 2)]
        kinds = [torch.zeros(count, 0, dtype=torch.long)]
        if boxes is not None:
            places.append(boxes.float().unflatten(-1, (2, 2)))
            kinds.append(torch.tensor(_CORNERS).expand(count, -1))
        if points is not None and labels is not None:
            places.append(points.float())
            kinds.append(labels.long())
        return cls(torch.cat(places, dim=1), torch.cat(kinds, dim=1), None if masks is None else masks.float())

    def with_length(self, length: int | None) -> Clicks:
        """Filled up to a number of clicks and corners a prompt; as they are for None.

        Raises:
            InputError: there are more.
        """
        found = self.points.shape[1]
        if length is None or length == found:
            return self
        if found > length:
            raise InputError(
                f"a prompt has {found} clicks and corners; this exported model takes at most {length} (a box counts as "
                "2), so ask with fewer, or export it for more"
            )
        more = (0, length - found)
        return Clicks(F.pad(self.points, (0, 0, *more)), F.pad(self.labels, more, value=PADDING), self.masks)

    def parts(self, together: int) -> Iterator[Clicks]:
        """At most so many prompts at a time."""
        for start in range(0, len(self.points), together):
            rows = slice(start, start + together)
            yield Clicks(self.points[rows], self.labels[rows], None if self.masks is None else self.masks[rows])

    def with_count(self, count: int) -> Clicks:
        """Filled up to a number of prompts, with prompts that ask for nothing."""
        more = count - len(self.points)
        if not more:
            return self
        masks = None if self.masks is None else F.pad(self.masks, (0, 0, 0, 0, 0, 0, 0, more))
        return Clicks(
            F.pad(self.points, (0, 0, 0, 0, 0, more)), F.pad(self.labels, (0, 0, 0, more), value=PADDING), masks
        )
