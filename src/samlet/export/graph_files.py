"""Encoder and decoder for a runtime: written, described, run there, and measured."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from samlet._version import __version__
from samlet.data.images import RGBImage
from samlet.evaluation.costs import cost
from samlet.export.config import ExportConfig
from samlet.export.probes import Answer, Probe, answers
from samlet.export.usage import usage
from samlet.export.verification import (
    Figures,
    compare_answers,
    compare_prompts,
    embedding,
    part_bytes,
    sqnr,
    time_parts,
)
from samlet.models import Sam
from samlet.models.quantized import is_quantized
from samlet.runtimes.exported import ExportedSam
from samlet.runtimes.manifest import MACS, Manifest, note_usage, write_manifest


class Writer(Protocol):
    """What the module of a target of graphs has."""

    def write(
        self,
        sam: Sam,
        folder: Path,
        config: ExportConfig,
        integer: Sam | None = None,
        images: Sequence[RGBImage] = (),
    ) -> dict[str, str]:
        """Write encoder and decoder into an existing folder.

        Args:
            sam: the model, float32.
            folder: where to.
            config: of the export.
            integer: the model with quantized layers, for int8 by samlet's search.
            images: photographs, for int8 by the runtime's own rules.

        Returns:
            Names of the files, `encoder` and `decoder`.
        """
        ...


def writer(config: ExportConfig) -> Writer:
    """The module that writes a target's graphs."""
    return importlib.import_module(f"samlet.export.{config.target.module}")


def write_and_run(
    sam: Sam,
    integer: Sam | None,
    folder: Path,
    config: ExportConfig,
    asked: Sequence[Probe],
    expected: Sequence[Answer],
    size: int | None,
    provenance: Mapping[str, Any] | None,
) -> tuple[Figures, Sequence[Answer]]:
    """Write graphs, run them, and measure; for int8 beside a float32 export that is not kept.

    Args:
        sam: the model.
        integer: the model with quantized layers, for int8.
        folder: an existing folder.
        config: of the export.
        asked: photographs with prompts.
        expected: what the model answers them.
        size: the one image size of the graphs; None for any.
        provenance: what the model comes from.

    Returns:
        Figures, and what the graphs answer.
    """
    images = [question.image for question in asked]
    names = writer(config).write(sam, folder, config, integer, images)
    _write_manifest(sam, folder, config, names, size, provenance)
    made = ExportedSam(folder)
    note_usage(folder, usage(made))
    given = answers(made, asked, size)
    compared = compare_prompts(asked, expected, given)
    image = asked[0].image
    found = embedding(made, image, size)
    figures: dict[str, Any] = {
        "embedding_sqnr": sqnr(found, embedding(sam, image, size)),
        "bytes": part_bytes(folder),
    }
    models: dict[str, Any] = {"made": made}
    with tempfile.TemporaryDirectory() as other:
        if config.precision == "int8":
            plain = ExportConfig(**{**asdict(config), "precision": "float32"})
            beside = Path(other)
            _write_manifest(sam, beside, plain, writer(config).write(sam, beside, plain, images=images), size, None)
            models["float"] = ExportedSam(beside)
            figures["float_bytes"] = part_bytes(beside)
        if integer is not None:
            figures["simulation_agreement"] = compare_answers(answers(integer, asked, size), given)[0]
            figures["simulation_sqnr"] = sqnr(found, embedding(integer, image, size))
        times = time_parts(models, image, size) if config.for_device == "this" else {}
    figures |= {"latency_s": times.get("made"), "float_latency_s": times.get("float")}
    return replace(compared, **figures), given


def _write_manifest(
    sam: Sam,
    folder: Path,
    config: ExportConfig,
    names: Mapping[str, str],
    size: int | None,
    provenance: Mapping[str, Any] | None,
) -> None:
    side = sam.config.encoder.image_size if size is None else size
    counted = cost(_plain(sam), side, measure=False)
    fixed = config.target.fixed_sizes
    parts = {"encoder": counted.encoder, "decoder": counted.decoder}
    manifest = Manifest(
        folder=folder,
        target=config.to,
        precision=config.precision,
        runtime_precision=config.target.int8_rest if config.precision == "int8" else None,
        config=sam.config,
        files=names,
        image_sizes=None if size is None else (size,),
        prompt_batch=config.prompts if fixed else None,
        points=config.points if fixed else None,
    )
    write_manifest(
        manifest,
        parameters={part: found.parameters for part, found in parts.items()},
        macs={part: {name: getattr(found, name) for name in MACS} for part, found in parts.items()},
        macs_image_size=side,
        provenance={"samlet": __version__, "settings": asdict(config), "source": dict(provenance or {})},
    )


def _plain(sam: Sam) -> Sam:
    """A float model of the same architecture, to count."""
    with torch.device("meta"):
        return Sam(sam.config) if is_quantized(sam) else sam
