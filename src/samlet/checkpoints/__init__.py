"""Checkpoints: one module for each published format, both ways, and the native folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from samlet.checkpoints import (
    edge_sam,
    efficient_sam,
    hugging_face,
    hugging_face_sam2,
    native,
    q_tinysam,
    sam2,
    segment_anything,
)
from samlet.checkpoints import mobile_sam as tiny
from samlet.checkpoints.adapters import BESIDE
from samlet.checkpoints.reading import EXPORT, read_json, read_module, shorten
from samlet.checkpoints.statistics import PIXELS
from samlet.checkpoints.storage import STORES, Store, check_store
from samlet.errors import CheckpointError, InputError
from samlet.io.paths import expanded
from samlet.io.remarks import collected, remark
from samlet.io.writing import new_file, write_tensors
from samlet.models import PromptableModel, Sam

__all__ = ["FORMATS", "STORES", "Format", "Store", "load_checkpoint", "save"]

Format = Literal["native", "segment-anything", "mobile-sam", "sam2", "hugging-face"]
FORMATS: tuple[Format, ...] = ("native", "segment-anything", "mobile-sam", "sam2", "hugging-face")


def load_checkpoint(path: str | Path) -> Sam:
    """Load a model from a folder or a file in any format that samlet knows, told apart by content.

    Args:
        path: native folder, `SamModel` or `Sam2Model` folder, or a published file (`.pth`, `.pt` or `.safetensors`): a
            state dict of segment-anything, SAM 2, SlimSAM, MobileSAM, TinySAM, EdgeSAM or EfficientSAM, or a pickled
            module of these or of Q-TinySAM.

    Raises:
        InputError: there is nothing at `path`, or an exported model, which has graphs and no weights.
        CheckpointError: what is there cannot be read; the message says what was found and what was expected.
    """
    with collected() as said:
        sam = _load(expanded(path))
    if said:
        sam.read_remarks = tuple(said)
    return sam


def _load(path: Path) -> Sam:
    if path.is_dir():
        if (path / EXPORT).is_file():
            raise InputError(
                f"{path}: an exported model cannot be trained; give the model it was made from (samlet.load opens an "
                "exported one to run it)"
            )
        if (path / BESIDE).is_file() and not (path / "config.json").is_file():
            raise CheckpointError(
                f"{path} holds low-rank adapters (LoRA) and not the model that they adapt; expected the whole model: "
                "load the base model with the adapters, merge them (in PEFT: merge_and_unload), and save it"
            )
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} has no config.json; expected a samlet model folder or a SamModel folder")
        about = read_json(path / "config.json")
        if "model_type" not in about:
            return native.read(path)
        is_sam2 = about["model_type"] in hugging_face_sam2.MODEL_TYPES
        return hugging_face_sam2.read(path) if is_sam2 else hugging_face.read(path)
    sam = _read_file(path)
    if path.name.startswith("sam2") and sam.config.decoder.style != "sam2":
        remark(f"{path} holds no SAM 2 but a SAM with a {sam.config.encoder.kind} encoder, and is used as that")
    return sam


def _read_file(path: Path) -> Sam:
    found = read_module(path)
    tensors = found.tensors
    if q_tinysam.matches(found):
        return q_tinysam.read(found, path)
    for module in (sam2, efficient_sam):
        if module.matches(tensors):
            return module.read(tensors, path)
    pixels = {name: value for name, value in found.non_persistent.items() if name in PIXELS}
    tensors = {**pixels, **tensors}
    for other in (edge_sam, tiny):
        if other.matches(tensors):
            return other.read(tensors, path)
    if segment_anything.matches(tensors):
        return segment_anything.read(tensors, path, found.attributes)
    raise CheckpointError(
        f"{path} holds {len(tensors)} tensors ({shorten(tensors)}) of no architecture that samlet knows; "
        "expected a segment-anything, SAM 2, SlimSAM, MobileSAM, TinySAM, EdgeSAM or EfficientSAM state dict"
    )


def check_format(sam: Sam, format: Format) -> None:
    """Raise InputError if a format cannot hold a model; nothing is computed or written for it."""
    if format == "native":
        return
    native.check_float(sam, f"format {format}")
    if format == "hugging-face":
        (hugging_face_sam2 if sam.config.decoder.style == "sam2" else hugging_face).check(sam)
    else:
        {"segment-anything": segment_anything, "mobile-sam": tiny, "sam2": sam2}[format].write(sam)


def save(
    sam: PromptableModel,
    path: str | Path,
    *,
    format: Format = "native",
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    store: Store = "float32",
) -> None:
    """Write a model.

    Args:
        sam: the model.
        path: a new folder (`native`, `hugging-face`) or file (`segment-anything`, `mobile-sam`, `sam2`; `.pth`, `.pt`
            or `.safetensors`).
        format: one of `FORMATS`.
        provenance: for the native format: what the model comes from; what the model itself knows of that if None.
        overwrite: replace an earlier file, or an earlier model folder.
        store: how the native format stores weights, one of `STORES`; what is loaded again computes in float32.

    Raises:
        InputError: something is there already, the format cannot hold the model, or the model is an exported one.
    """
    path = expanded(path)
    check_store(store)
    if store != "float32" and format != "native":
        raise InputError(f"store {store} was asked for format {format}, which holds float32; use format native")
    if not isinstance(sam, Sam):
        raise InputError(
            "the model is an exported one, whose graphs cannot be saved in another format; copy its folder, or give "
            "the model it was made from"
        )
    if format == "native":
        native.write(sam, path, sam.provenance if provenance is None else provenance, overwrite, store=store)
        return
    if format in FORMATS:
        native.check_float(sam, f"format {format}")
    if format == "hugging-face":
        writer = hugging_face_sam2 if sam.config.decoder.style == "sam2" else hugging_face
        writer.write(sam, path, overwrite)
    elif format in FORMATS:
        tensors = {"segment-anything": segment_anything, "mobile-sam": tiny, "sam2": sam2}[format].write(sam)
        if path.is_dir() or (path.exists() and not overwrite):
            raise InputError(f"{path} exists; nothing was written. Name a new file, or pass overwrite=True")
        with new_file(path) as temporary:
            if path.suffix == ".safetensors":
                write_tensors(temporary, tensors)
            else:
                torch.save(tensors, temporary)
    else:
        raise InputError(f"format {format!r} is unknown; expected one of {', '.join(FORMATS)}")
