"""What every kind of decoder offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


def _none(_: int) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class DecoderKind:
    """A prompt encoder and a mask decoder that belong together.

    Attributes:
        prompt_encoder: class of the prompt encoder, built from a `DecoderConfig` and the channels of the embedding.
        mask_decoder: class of the mask decoder, built from the same.
        single: which output is the answer to an unambiguous prompt, from all low-res logits (P, 1 + multimask, h, w)
            above the threshold of masks and predicted IoU (P, 1 + multimask), as numbers (P,).
        has_single_mask: whether output 0 was trained.
        single_is_first: whether the single mask is output 0 whatever it looks like.
        takes_masks: whether earlier answers can be prompts.
        shares: whether `FastMaskDecoder` knows it.
        exports: whether its graphs can be written for other runtimes.
        pred_iou_thresh: least predicted IoU in everything mode, unless told otherwise.
        fine_channels: channels of the finer maps that it takes beside an embedding of so many channels.
    """

    prompt_encoder: Callable[[Any, int], nn.Module]
    mask_decoder: Callable[[Any, int], nn.Module]
    single: Callable[[Tensor, Tensor], Tensor]
    has_single_mask: bool = True
    single_is_first: bool = True
    takes_masks: bool = True
    shares: bool = True
    exports: bool = True
    pred_iou_thresh: float = 0.88
    fine_channels: Callable[[int], tuple[int, ...]] = _none


def first_output(low_res: Tensor, iou: Tensor) -> Tensor:  # noqa: ARG001 - as `DecoderKind.single`
    """Output 0, whatever it looks like."""
    return iou.argmax(dim=1) * 0


def best_multimask(low_res: Tensor, iou: Tensor) -> Tensor:  # noqa: ARG001 - as `DecoderKind.single`
    """The multimask output of highest predicted IoU."""
    return 1 + iou[:, 1:].argmax(dim=1)
