"""A folder for transformers, run in transformers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from samlet.checkpoints.reading import read_json
from samlet.data.images import RGBImage
from samlet.data.transforms import preprocess
from samlet.errors import InputError, SamletError
from samlet.models import Sam

_TOLERANCE = 1e-3  # of logits, relative to their largest


def check_in_transformers(sam: Sam, folder: Path, images: Sequence[RGBImage]) -> None:
    """Ask the folder's model in transformers and the source model for the logits of one point on each photograph.

    Raises:
        InputError: transformers is not installed.
        SamletError: the logits differ.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            "exporting to hf runs the result in transformers, which is not installed; run: pip install transformers"
        ) from error
    (kind,) = read_json(folder / "config.json")["architectures"]  # SamModel or Sam2Model
    model = getattr(transformers, kind).from_pretrained(str(folder)).eval()
    side = sam.image_size
    for image in images:
        pixels, frame = preprocess(image, side, *sam.preprocessing)
        point = frame.to_input(torch.tensor([[[image.shape[1] / 2, image.shape[0] / 2]]]))
        with torch.inference_mode():
            expected = sam.decode(sam.encode(pixels[None]), point, torch.ones(1, 1, dtype=torch.long)).low_res[:, 1:]
            found = model(pixel_values=pixels[None], input_points=point[None], multimask_output=True).pred_masks[0]
        difference = float((found - expected).abs().max() / expected.abs().max())
        if not difference <= _TOLERANCE:
            raise SamletError(
                f"transformers answers other logits than the source model: relative error {difference:.2g}, expected "
                f"at most {_TOLERANCE:g}; nothing was written"
            )
