"""The two graphs of a page: written for one size, their weights stored small, and asked beside the model."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from samlet.checkpoints.reading import EXPORT, read_json
from samlet.errors import InputError, SamletError
from samlet.export.pipeline import export_model
from samlet.export.probes import answers, photographs, probes
from samlet.export.stored_weights import Stored, store_weights
from samlet.export.verification import compare_answers
from samlet.io.writing import write_json
from samlet.models import PromptableModel, Sam
from samlet.models.decoders import DECODERS
from samlet.models.quantized import is_quantized
from samlet.runtimes import ExportedSam
from samlet.web.config import FIRST_LOAD, LEAST_AGREEMENT, WebConfig
from samlet.web.limits import check_tensors, check_weights
from samlet.web.reference import write_reference

PARTS = ("encoder", "decoder")
_SMALLER: tuple[Stored, ...] = ("float32", "float16", "int8")


@dataclass(frozen=True, kw_only=True)
class WebGraphs:
    """Graphs that agree with their model.

    Attributes:
        stored: how their weights are kept.
        agreement: mean mask IoU with the model.
        worst: the least IoU of a prompt.
        prompts: that were asked.
        reference: see `samlet.web.reference`.
    """

    stored: Stored
    agreement: float
    worst: float
    prompts: int
    reference: Mapping[str, Any]


def check_model(model: PromptableModel, config: WebConfig) -> None:
    """What can be known before a graph is written.

    Raises:
        InputError: the model cannot become a page.
    """
    model.check_image_size(config.size)
    if isinstance(model, ExportedSam):
        about = model.manifest
        if about.target != "onnx" or about.precision not in ("float32", "float16", "int8"):
            raise InputError(
                f"the model is exported for {about.target} in {about.precision}, which browsers do not run; expected "
                "one exported to onnx, or the model that it was made from"
            )
        if config.weights not in ("auto", "float32") and about.precision != "float32":
            raise InputError(
                f"the model is exported in {about.precision} already, and --weights is {config.weights}; leave "
                "--weights out, or give the model that it was made from"
            )
    elif is_quantized(cast(Sam, model)):
        raise InputError(
            "the model is quantized; a page rounds weights itself (--weights int8), so give the float model that it "
            "was made from, or one exported to onnx"
        )
    if not DECODERS[model.config.decoder.style].exports:
        raise InputError(
            f"the decoder is {model.config.decoder.style}'s, which samlet cannot export; expected SAM's or SAM 2's"
        )
    check_weights(_parameters(model))


def write_graphs(model: PromptableModel, folder: Path, config: WebConfig, others: int) -> WebGraphs:
    """Write `encoder.onnx.gz` and `decoder.onnx.gz`, and their answer to a question.

    Args:
        model: a model that `check_model` passes.
        folder: an existing folder.
        config: of the page.
        others: bytes that the page loads beside the graphs, before its first mask.

    Raises:
        InputError: the encoder's tensors are too large for a browser.
        SamletError: the graphs do not answer as the model does.
    """
    with tempfile.TemporaryDirectory() as temporary:
        plain = _plain(model, Path(temporary) / "plain", config)
        check_tensors(plain / "encoder.onnx", config.size)
        asked = probes(model, photographs(None, 4, config.seed), config.size)
        expected = answers(model, asked, config.size)
        for stored in _candidates(model, config):
            work = Path(temporary) / stored
            shutil.copytree(plain, work)
            for part in PARTS:
                store_weights(work / f"{part}.onnx", stored)
            packed = {part: gzip.compress((work / f"{part}.onnx").read_bytes(), mtime=0) for part in PARTS}
            if config.weights != "auto" or others + sum(map(len, packed.values())) <= FIRST_LOAD:
                break
        made = ExportedSam(work)
        mean, worst, prompts = compare_answers(expected, answers(made, asked, config.size))
        if not mean >= LEAST_AGREEMENT[stored]:
            raise SamletError(
                f"mask IoU of the graphs with the model is {mean:.4f} over {prompts} prompts with {stored} weights; "
                f"expected at least {LEAST_AGREEMENT[stored]:g}. Try --weights "
                f"{'float16' if stored == 'int8' else 'float32'}"
            )
        reference = write_reference(made, folder, config.size)
    for part in PARTS:
        (folder / f"{part}.onnx.gz").write_bytes(packed[part])
    return WebGraphs(stored=stored, agreement=mean, worst=worst, prompts=prompts, reference=reference)


def _plain(model: PromptableModel, folder: Path, config: WebConfig) -> Path:
    """A folder with the model's graphs and their description."""
    if isinstance(model, ExportedSam):
        folder.mkdir()
        for part in PARTS:
            shutil.copyfile(model.manifest.path(part), folder / f"{part}.onnx")
        about: Mapping[str, Any] = read_json(model.manifest.folder / EXPORT)
        write_json(folder / EXPORT, {**about, "files": {part: f"{part}.onnx" for part in PARTS}})
        return folder
    export_model(cast(Sam, model), folder, "onnx", image_size=config.size, seed=config.seed)
    return folder


def _parameters(model: PromptableModel) -> int:
    """Of the model, or of the one that it was made from."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Sam(model.config).parameters())


def _candidates(model: PromptableModel, config: WebConfig) -> tuple[Stored, ...]:
    """In what order to try how weights are stored."""
    if isinstance(model, ExportedSam) and model.manifest.precision != "float32":
        return ("float32",)  # as they are
    return _SMALLER if config.weights == "auto" else (config.weights,)
