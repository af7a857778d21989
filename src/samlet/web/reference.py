"""One question with the answer of the page's own graphs, by which it tells whether a browser's GPU computes right."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.models import PromptableModel
from samlet.models.decoders import DECODERS

FILE = "reference.f32.gz"
_PHOTOGRAPH = "cat.jpg"


def write_reference(model: PromptableModel, folder: Path, size: int) -> dict[str, Any]:
    """Answer one click on a bundled photograph and write the low-res logits of all masks.

    Args:
        model: the graphs of the page, run outside the browser.
        folder: where the file goes.
        size: side of the encoder's input, pixels.

    Returns:
        What the page reads beside the file: photograph, click, shape of the logits (masks, rows, columns).
    """
    path = next(path for path in bundled_photographs() if path.name == _PHOTOGRAPH)
    click = CLICKS[_PHOTOGRAPH][0]
    pixels, frame = preprocess(read_image(path), size, *model.preprocessing)
    with torch.inference_mode():
        embedding = model.encode(pixels[None])
        point = frame.to_input(torch.tensor([[click]], dtype=torch.float32))
        answer = model.decode(embedding, point, torch.ones(1, 1, dtype=torch.long))
    logits = answer.low_res[0].numpy().astype(np.float32)
    (folder / FILE).write_bytes(gzip.compress(logits.tobytes(), mtime=0))
    return {"file": FILE, "photograph": _PHOTOGRAPH, "click": list(click), "shape": list(logits.shape)}


def everything_threshold(model: PromptableModel) -> float:
    """Predicted IoU above which everything mode keeps a mask, as `samlet segment --everything` does."""
    return DECODERS[model.config.decoder.style].pred_iou_thresh
