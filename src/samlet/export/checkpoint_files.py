"""Checkpoints in formats of others, read again and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from samlet.checkpoints import Format, check_format, load_checkpoint, save
from samlet.errors import InputError
from samlet.export.config import ExportConfig
from samlet.export.probes import Answer, Probe, answers
from samlet.export.transformers_check import check_in_transformers
from samlet.export.verification import Figures, compare_prompts
from samlet.models import Sam


def check(sam: Sam, config: ExportConfig) -> None:
    """Raise InputError for a model that the format has no place for."""
    if config.to == "hf":
        check_format(sam, "hugging-face")
        return
    format = sam.config.encoder.published_format
    if format is None:
        raise InputError(
            f"the model has a {sam.config.encoder.kind} encoder, whose published format samlet does not write; "
            "expected a ViT, TinyViT or SAM 2. Export it to onnx or openvino, or save it natively"
        )
    check_format(sam, cast(Format, format))


def write_and_read(
    sam: Sam, folder: Path, config: ExportConfig, asked: Sequence[Probe], expected: Sequence[Answer]
) -> Figures:
    """Write a checkpoint into an existing folder, read it again, and compare; arguments as of `write_and_run`."""
    if config.to == "hf":
        save(sam, folder, format="hugging-face", overwrite=True)
        check_in_transformers(sam, folder, [question.image for question in asked])
        made = load_checkpoint(folder)
    else:
        save(sam, folder / "model.pth", format=cast(Format, sam.config.encoder.published_format))
        made = load_checkpoint(folder / "model.pth")
    given = answers(made, asked, None)
    return compare_prompts(asked, expected, given)
