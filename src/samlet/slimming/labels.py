"""The loss on labelled masks that the classic Taylor criterion reads its gradients from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samlet.data.datasets import Dataset
from samlet.data.masks import decode_rle
from samlet.data.transforms import preprocess
from samlet.errors import InputError
from samlet.models import Sam, single_masks
from samlet.training import mask_losses

_MOST_MASKS = 16


@dataclass(frozen=True)
class Labelled:
    """A photograph with true masks.

    Attributes:
        image: (1, 3, S, S).
        points: (P, 1, 2) one point in each mask, pixels of the input.
        masks: (P, 1, S / 4, S / 4) the share of each low-resolution cell that is mask.
        extent: height and width of the photograph inside the low-resolution grid.
    """

    image: Tensor
    points: Tensor
    masks: Tensor
    extent: tuple[int, int]


def labelled_sample(dataset: Dataset, count: int, image_size: int, sam: Sam, seed: int) -> Iterator[Labelled]:
    """`count` photographs with masks (or all, if fewer) drawn at random; unreadable and maskless ones are passed over.

    Raises:
        InputError: the dataset has no masks.
    """
    if not dataset.annotated:
        raise InputError(f"{dataset.path} has no annotations; expected an SA-1B folder or a COCO JSON for --labels")
    given = 0
    for sample in dataset.shuffled(seed):
        if given == count:
            return
        try:
            image = sample.image()
        except InputError:
            continue
        if not sample.annotations:
            continue
        pixels, frame = preprocess(image, image_size, *sam.preprocessing)
        chosen = np.random.default_rng(seed).permutation(len(sample.annotations))[:_MOST_MASKS]
        annotations = [sample.annotations[i] for i in chosen]
        points = frame.to_input(torch.tensor([[a.point] for a in annotations], device=sam.device))
        height, width = frame.resized
        masks = torch.from_numpy(np.stack([decode_rle(a.rle) for a in annotations])).to(sam.device)
        full = F.interpolate(masks[:, None].float(), (height, width), mode="bilinear", antialias=True)
        full = F.pad(full, (0, image_size - width, 0, image_size - height))
        given += 1
        yield Labelled(pixels[None], points, F.avg_pool2d(full, 4), (-(-height // 4), -(-width // 4)))
    if not given:
        raise InputError(f"{dataset.path} has no readable photograph with masks; expected at least one for --labels")


def mask_loss(sam: Sam, sample: Labelled) -> Tensor:
    """Focal and dice loss, 20 to 1, of the single-mask output for the point in each mask (Segment Anything, app. A).

    Where the model has no such output, of the best predicted of the others.

    Args:
        sam: the model.
        sample: one photograph.

    Returns:
        A scalar, the mean over the masks.
    """
    labels = torch.ones(sample.points.shape[:2], dtype=torch.long, device=sample.points.device)
    out = sam.decode(sam.encode(sample.image), sample.points, labels)
    logits, _ = single_masks(sam, out.low_res, out.iou)
    height, width = sample.extent
    return mask_losses.mask_loss(logits[:, :height, :width], sample.masks[:, 0, :height, :width]).mean()
