"""From prompts on one crop to the masks that stay there.

One module, though long: sampling, early suppression and the masks at full size share windows of logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.data.transforms import Frame
from samlet.inference.everything.coverage import Coverage
from samlet.inference.everything.dropped import Dropped
from samlet.inference.everything.features import feature_type
from samlet.inference.everything.grids import Points
from samlet.inference.everything.options import EverythingOptions
from samlet.inference.everything.suppression import box_iou, with_area
from samlet.inference.windows import LogitWindow, MaskWindow, Upscaler
from samlet.models import Embedding, PromptableModel, maps_of
from samlet.models.decoders import DECODERS
from samlet.models.decoders.full import prompt_decoder
from samlet.models.decoders.sam.fast import Decoded, Window

_REACH = 2  # patches around the samples of a mask that are computed
_FEW = 64  # samples of a mask below which they say nothing about its stability
_SAMPLE_DOUBT = 3.0  # stability on n samples is trusted to this over n^0.75: a mask's edge has some √n of them
_MAX_STORED = 1 << 25  # low-res logits of candidates kept before some are suppressed early: 64 MB


def _low_res_doubt(cells: int) -> float:
    """How far stability of a mask of so many low-res cells may change from low to full resolution.

    Measured on photographs: a standard deviation of 0.008 for thousands of cells, 0.024 for a hundred.
    """
    return 0.025 + 0.6 / max(cells, 1) ** 0.5


EdgeTest = Callable[[tuple[int, int, int, int]], bool]


@dataclass(frozen=True)
class Candidate:
    """A mask that may stay.

    Attributes:
        order: number of its prompt and output; of equal predicted IoU the lower comes first.
        iou: predicted IoU.
        point: x, y of its prompt, pixels of the crop.
        window: its low-res logits.
    """

    order: int
    iou: float
    point: tuple[float, float]
    window: LogitWindow


@dataclass(frozen=True)
class Found:
    """A mask that stays in its crop."""

    iou: float
    point: tuple[float, float]
    mask: MaskWindow


class CropMasks:
    """Masks of one crop of an image.

    Args:
        sam: the model.
        embedding: (1, C, h, w) of the crop.
        frame: the crop's place in the encoder's input.
        options: thresholds.
        asked: called with the number of prompts after each batch.
        seen: counts what is dropped, and why.
    """

    def __init__(
        self,
        sam: PromptableModel,
        embedding: Embedding,
        frame: Frame,
        options: EverythingOptions,
        asked: Callable[[int], object] = lambda _: None,
        seen: Dropped | None = None,
    ) -> None:
        self.options, self.frame, self._asked = options, frame, asked
        self._seen = Dropped() if seen is None else seen
        own = DECODERS[sam.config.decoder.style].pred_iou_thresh
        self._least_iou = own if options.pred_iou_thresh is None else options.pred_iou_thresh
        self._seen.least_iou = self._least_iou
        self.decoder = prompt_decoder(sam, embedding, feature_type(options, sam.device, sam.dtype), many=True)
        self.upscaler = Upscaler(frame, self.decoder.low_res_size)
        self.threshold = sam.config.mask_threshold
        self.floor = self.threshold - options.stability_score_offset
        self.ceiling = self.threshold + options.stability_score_offset
        self._like = embedding
        self._patches = (
            -(-self.upscaler.shape[0] // 4),
            -(-self.upscaler.shape[1] // 4),
        )  # rows and columns that the image reaches
        self._settling: Coverage | None = None
        if options.strategy == "hierarchical" and options.settling == "consensus":
            self._settling = Coverage(maps_of(embedding)[0], *self._patches)
        self._candidates: list[Candidate] = []
        self._stored = 0
        self.prompts = 0
        self.fruitful: set[int] = set()
        """Numbers of the prompts that gave a mask that may stay."""

    def ask(self, points: Points, numbers: NDArray[np.integer]) -> None:
        """Decode prompts of one click each: points (N, 2), pixels of the crop, and their numbers in the grid (N,)."""
        if not len(points):
            return
        inputs = self.frame.to_input(torch.from_numpy(points).float()).to(self._like.device, self._like.dtype)
        for start in range(0, len(points), self.options.points_per_batch):
            part = slice(start, start + self.options.points_per_batch)
            clicks = inputs[part, None]
            labels = torch.ones(clicks.shape[:2], dtype=torch.long, device=clicks.device)
            decoded = self.decoder.transform(clicks, labels)
            self._seen.outputs(decoded.iou[:, 1:])
            samples = None
            if self._settling is not None or not self.options.exact:
                samples = self.decoder.samples(decoded, *self._patches)[:, 1:]
            if self._settling is not None and samples is not None:
                self._settling.add(samples, self._good(decoded))
            candidates = (
                self._whole(decoded)
                if samples is None or self.options.exact
                else self._sampled(decoded, samples, clicks)
            )
            for prompt, output, window in candidates:
                number = start + prompt
                order = int(numbers[number]) * 3 + output
                self.fruitful.add(int(numbers[number]))
                x, y = points[number]
                iou = float(decoded.iou[prompt, output + 1])
                self._candidates.append(Candidate(order, iou, (float(x), float(y)), window))
                self._stored += window.logits.numel()
            if self._stored > _MAX_STORED and not self.options.exact:
                self._suppress_early()
            self._asked(len(clicks))
        self.prompts += len(points)

    def settledness(self, points: Points) -> NDArray[np.float32]:
        """How settled the prompts so far leave the patches of points (N, 2), pixels of the crop; see `Coverage`."""
        assert self._settling is not None
        stride = self.frame.image_size // self.decoder.height
        cells = self.frame.to_input(torch.from_numpy(points)).numpy() // stride
        columns, rows = cells.astype(int).T
        score = self._settling.score().cpu().numpy()
        return score[rows.clip(max=self._patches[0] - 1), columns.clip(max=self._patches[1] - 1)]

    def exceeded(self, points: Points, logit: float) -> NDArray[np.bool_]:
        """Where a good and stable mask of the prompts so far has a logit above a value: points (N, 2), pixels; (N,)."""
        x, y = points.astype(int).T
        found = np.zeros(len(points), bool)
        for candidate in self._candidates:
            new = np.flatnonzero(~found)
            new = new[self.upscaler.logits_at(candidate.window, x[new], y[new]) > logit]
            if len(new) and self._full(candidate).stability >= self.options.stability_score_thresh:
                found[new] = True
        return found

    def _full(self, candidate: Candidate) -> MaskWindow:
        """A candidate's mask at full resolution."""
        return self.upscaler.mask(candidate.window, self.threshold, self.options.stability_score_offset)

    def _good(self, decoded: Decoded) -> Tensor:
        """Which multimask outputs have the predicted IoU that is asked for, (P, M)."""
        return decoded.iou[:, 1:] > self._least_iou

    def _whole(self, decoded: Decoded) -> Iterator[tuple[int, int, LogitWindow]]:
        """Candidates from masks that are computed in whole."""
        rows, columns = self.upscaler.shape
        for prompt, good in enumerate(self._good(decoded).cpu()):
            outputs = [int(i) for i in good.nonzero()[:, 0]]
            if not outputs:
                continue
            logits = self.decoder.masks(decoded, prompt, [i + 1 for i in outputs])
            for output, low_res in zip(outputs, logits[:, :rows, :columns], strict=True):
                if self._may_be_stable(low_res):
                    yield prompt, output, self.upscaler.window(low_res, self.floor)

    def _sampled(self, decoded: Decoded, samples: Tensor, clicks: Tensor) -> Iterator[tuple[int, int, LogitWindow]]:
        """Candidates from masks that are sampled first, and computed near their samples if those look stable."""
        above = samples > self.floor
        count = above.sum((-2, -1)).float()
        stability = (samples > self.ceiling).sum((-2, -1)) / count.clamp(min=1)
        doubt = _SAMPLE_DOUBT * count.clamp(min=1) ** -0.75
        likely = (count < _FEW) | (stability >= self.options.stability_score_thresh - doubt)
        stride = self.frame.image_size // self.decoder.height
        cells = (clicks[:, 0] // stride).long().cpu()
        for prompt, good in enumerate((self._good(decoded) & likely).cpu()):
            outputs = [int(i) for i in good.nonzero()[:, 0]]
            if not outputs:
                continue
            window = self._around(above[prompt, outputs].any(dim=0), cells[prompt])
            logits = self._masks(decoded, prompt, outputs, window)
            for output, low_res in zip(outputs, logits, strict=True):
                top, left = 4 * window[0], 4 * window[2]
                if self._leaves(low_res, window):
                    whole = (0, self._patches[0], 0, self._patches[1])
                    low_res, top, left = self._masks(decoded, prompt, [output], whole)[0], 0, 0
                if self._may_be_stable(low_res):
                    yield prompt, output, self.upscaler.window(low_res, self.floor, top, left)

    def _masks(self, decoded: Decoded, prompt: int, outputs: list[int], window: Window) -> Tensor:
        """Low-res logits inside a window of patches, cut where the image ends."""
        rows, columns = self.upscaler.shape
        logits = self.decoder.masks(decoded, prompt, [i + 1 for i in outputs], window)
        return logits[:, : rows - 4 * window[0], : columns - 4 * window[2]]

    def _around(self, above: Tensor, cell: Tensor) -> Window:
        """The patches around samples (rows, columns), and around the prompt's own patch x, y."""
        rows, columns = above.any(dim=1).nonzero()[:, 0], above.any(dim=0).nonzero()[:, 0]
        x, y = int(cell[0]), int(cell[1])
        top, bottom = (min(int(rows[0]), y), max(int(rows[-1]), y)) if len(rows) else (y, y)
        left, right = (min(int(columns[0]), x), max(int(columns[-1]), x)) if len(columns) else (x, x)
        height, width = self._patches
        return (
            min(max(top - _REACH, 0), height - 1),
            min(bottom + _REACH + 1, height),
            min(max(left - _REACH, 0), width - 1),
            min(right + _REACH + 1, width),
        )

    def _leaves(self, low_res: Tensor, window: Window) -> bool:
        """Whether a mask goes on beyond its window."""
        above = low_res > self.floor
        open_sides = (window[0] > 0, window[1] < self._patches[0], window[2] > 0, window[3] < self._patches[1])
        sides = (above[0], above[-1], above[:, 0], above[:, -1])
        return any(is_open and bool(side.any()) for is_open, side in zip(open_sides, sides, strict=True))

    def _stability(self, low_res: Tensor) -> float:
        inner, outer = (low_res > self.ceiling).sum(), (low_res > self.floor).sum()
        return float(inner / outer.clamp(min=1))

    def _may_be_stable(self, low_res: Tensor) -> bool:
        """Whether a mask may be stable enough at full resolution."""
        if self.options.exact:
            return True
        cells = int((low_res > self.floor).sum())
        return self._stability(low_res) + _low_res_doubt(cells) >= self.options.stability_score_thresh

    def settle(self, touches_edge: EdgeTest) -> Iterator[Found]:
        """Non-maximum suppression over all candidates, best predicted IoU first.

        Only masks that are not surely suppressed are computed at full resolution.

        Args:
            touches_edge: whether a box (x0, y0, x1, y1, inclusive, pixels of the crop) is cut off by the crop.
        """
        limit = self.options.box_nms_thresh
        boxes = np.zeros((0, 4))
        for candidate in sorted(self._candidates, key=lambda c: (-c.iou, c.order)):
            if not self.options.exact and self._surely_overlaps(candidate.window, boxes):
                continue
            mask = self._full(candidate)
            self._seen.mask(mask.stability)
            if mask.stability < self.options.stability_score_thresh or not mask.mask.any() or touches_edge(mask.box):
                continue
            box = mask.box if self.options.exact else with_area(mask.box)
            if (box_iou(box, boxes) <= limit).all():
                boxes = np.concatenate([boxes, [box]])
                yield Found(candidate.iou, candidate.point, mask)

    def _suppress_early(self) -> None:
        """Drop candidates that a better one, which is surely stable, surely suppresses.

        Unlike `settle` this does not know yet whether the better one stays; it keeps memory bounded on images whose
        prompts all answer with the same large masks.
        """
        boxes = np.zeros((0, 4))
        kept = []
        for candidate in sorted(self._candidates, key=lambda c: (-c.iou, c.order)):
            if self._surely_overlaps(candidate.window, boxes):
                continue
            kept.append(candidate)
            low_res = candidate.window.logits
            doubt = _low_res_doubt(int((low_res > self.floor).sum()))
            if self._stability(low_res) - doubt >= self.options.stability_score_thresh:
                boxes = np.concatenate([boxes, [self._box(candidate.window)]])
        self._candidates = kept
        self._stored = sum(candidate.window.logits.numel() for candidate in kept)

    def _box(self, window: LogitWindow) -> tuple[float, float, float, float]:
        """Box of a mask from the centres of its outermost low-res cells, pixels of the crop; all 0 for an empty one."""
        above = window.logits > self.threshold
        rows, columns = above.any(dim=1).nonzero()[:, 0], above.any(dim=0).nonzero()[:, 0]
        if not len(rows):
            return 0.0, 0.0, 0.0, 0.0
        height, width = self.upscaler.cell
        return (
            (window.left + int(columns[0]) + 0.5) * width,
            (window.top + int(rows[0]) + 0.5) * height,
            (window.left + int(columns[-1]) + 0.5) * width,
            (window.top + int(rows[-1]) + 0.5) * height,
        )

    def _surely_overlaps(self, window: LogitWindow, boxes: NDArray[np.float64]) -> bool:
        """Whether a mask's box, known to a low-res cell, has too large an IoU with one of others for certain."""
        if not len(boxes):
            return False
        inner = np.array(self._box(window))
        height, width = self.upscaler.cell
        outer = inner + np.array([-width, -height, width, height])
        common = (np.minimum(inner[2:], boxes[:, 2:]) - np.maximum(inner[:2], boxes[:, :2])).clip(min=0).prod(axis=1)
        union = (outer[2:] - outer[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - common
        return bool((common / np.maximum(union, 1e-12) > self.options.box_nms_thresh).any())
