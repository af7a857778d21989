"""A model that segments by its name or path, whatever it is: a `Sam`, an exported one, FastSAM, or SAM 2 as ONNX."""

from __future__ import annotations

from pathlib import Path

import torch

from samlet.baselines.fast_sam import FastSam
from samlet.baselines.sam2_onnx import Sam2Onnx, find_pair
from samlet.errors import InputError
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel, Segmenter
from samlet.models import PromptableModel
from samlet.zoo import load_path, locate


def load_any(
    model: str | Path, device: torch.device | None = None, threads: int | None = None
) -> PromptableModel | FastSam | Sam2Onnx:
    """Load a model that segments.

    Args:
        model: FastSAM as an ONNX file, SAM 2 as a folder of an ONNX encoder and decoder, or what `samlet.load` takes.
        device: of a model of torch; the CPU if None.
        threads: of an ONNX graph; the runtime's choice if None.

    Raises:
        InputError: an unknown name, or a file that cannot be read.
    """
    path = locate(model)
    if path.suffix == ".onnx":
        return FastSam(path, threads=threads)
    pair = find_pair(path)
    if pair is not None:
        return Sam2Onnx(*pair, threads=threads)
    return load_path(path).to(device or torch.device("cpu"))


def open_segmenter(model: AnyModel | str | Path, image_size: int | None = None) -> Segmenter:
    """A model that segments, loaded where it is named.

    Args:
        model: it, or its name or path.
        image_size: side of its input, pixels; its own if None.

    Raises:
        InputError: as `load_any`; something that is no model; or an image size that it does not allow.
    """
    if isinstance(model, str | Path):
        model = load_any(model)
    if not isinstance(model, AnyModel):
        raise InputError(
            f"the model is a {type(model).__name__}; expected a model of samlet's, or its name or path as for "
            "samlet.load"
        )
    return as_segmenter(model, image_size)
