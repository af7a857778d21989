"""Targets that are files for one program: written, asked as that program asks them, and compared with their source."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from samlet.errors import InputError
from samlet.export.config import LEAST_AGREEMENT, ExportConfig
from samlet.export.probes import Probe, WorstPrompt, worst_prompt
from samlet.models import Sam
from samlet.training.mask_losses import mask_iou

_WEIGHTS_ALONE = 0.97  # mask IoU where weights alone are int8


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One precision of such an export.

    Attributes:
        precision: `float32`, `float16` or `int8`.
        agreement: mean IoU of its masks with the source model's, the best multimask output of a prompt.
        worst: the least of them.
        prompts: points and boxes asked.
        worst_prompt: which prompt that least one is of.
        bytes: of its files.
        limit: what the mean must reach.
    """

    precision: str
    agreement: float
    worst: float
    prompts: int
    bytes: int
    limit: float
    worst_prompt: WorstPrompt | None = None

    def __str__(self) -> str:
        which = f": {self.worst_prompt}" if self.worst_prompt else ""
        return (
            f"{self.precision}: mask IoU with the source model {self.agreement:.4f} (least {self.worst:.4f}{which}) "
            f"over {self.prompts} prompts, {self.bytes / 1e6:.2f} MB"
        )


class Bundle(Protocol):
    """A module that writes for one program."""

    def check(self, sam: Sam, side: int) -> None:
        """Raise InputError for a model that the program has no place for."""
        ...

    def write(self, sam: Sam, folder: Path, side: int, name: str, in_range: bool) -> None:
        """Write into an existing folder; without float16 where the model is not `in_range` of it."""
        ...

    def masks(
        self, sam: Sam, folder: Path, side: int, precision: str, asked: Sequence[Probe]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (P, h, w) of the files and of the source model for each photograph, of the masks that are taken."""
        ...

    def files(self, folder: Path) -> Mapping[str, Sequence[Path]]:
        """The graphs of each precision."""
        ...


def bundle(config: ExportConfig) -> Bundle:
    """The module of a target."""
    return importlib.import_module(f"samlet.export.{config.target.module}")


def write_and_run(
    sam: Sam,
    folder: Path,
    config: ExportConfig,
    asked: Sequence[Probe],
    provenance: Mapping[str, Any] | None,
    in_range: bool,
) -> list[Variant]:
    """Write a bundle into an existing folder, and compare every variant of it with the model.

    Args:
        sam: the model.
        folder: where to.
        config: of the export.
        asked: photographs with prompts.
        provenance: what the model comes from; its `name` becomes the bundle's.
        in_range: whether the model fits into float16.
    """
    made, side = bundle(config), sam.config.check_image_size(config.image_size)
    made.write(sam, folder, side, str((provenance or {}).get("name", "samlet")), in_range)
    limits = {str(name): value for name, value in LEAST_AGREEMENT.items()} | {"int8": _WEIGHTS_ALONE}
    if config.least_agreement is not None:
        limits = dict.fromkeys(limits, config.least_agreement)
    return compare(made, sam, folder, side, asked, limits)


def compare(
    made: Bundle, sam: Sam, folder: Path, side: int, asked: Sequence[Probe], limits: Mapping[str, float]
) -> list[Variant]:
    """Ask the source model and every variant of the files, and compare their masks."""
    found = []
    for precision, paths in made.files(folder).items():
        rows = [
            iou
            for theirs, ours in made.masks(sam, folder, side, precision, asked)
            for iou in mask_iou(theirs > sam.config.mask_threshold, ours > sam.config.mask_threshold).tolist()
        ]
        found.append(
            Variant(
                precision=precision,
                agreement=float(np.mean(rows)),
                worst=float(np.min(rows)),
                prompts=len(rows),
                bytes=sum(path.stat().st_size for path in paths),
                limit=limits[precision],
                worst_prompt=worst_prompt(asked, np.array(rows)[:, None]),
            )
        )
    return found


def session(path: Path | bytes) -> Callable[[Mapping[str, Any]], list[Tensor]]:
    """A graph in ONNX Runtime, from arrays by name to its outputs in order."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    opened = runtime.InferenceSession(
        path if isinstance(path, bytes) else str(path), options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: Mapping[str, Any]) -> list[Tensor]:
        given = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in inputs.items()}
        return [torch.from_numpy(value) for value in opened.run(None, given)]

    return run


def refusals(variants: Sequence[Variant]) -> list[str]:
    """Why they must not be let out; empty if they may."""
    return [f"{one}; expected at least {one.limit:g}" for one in variants if not one.agreement >= one.limit]


def check_side(sam: Sam, side: int, wanted: int, program: str) -> None:
    """Raise InputError where a program knows one size alone."""
    if side != wanted:
        raise InputError(f"{program} gives a model {wanted} pixels a side, and {side} were asked for; leave it out")
    sam.config.check_image_size(side)
