"""The gate: an export must answer as its source does, in its own runtime, and an int8 one must pay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samlet.data.images import RGBImage
from samlet.data.transforms import preprocess
from samlet.evaluation.interleaved import interleaved
from samlet.export.config import ExportConfig
from samlet.export.probes import Answer, Probe, WorstPrompt, agreement, worst_prompt
from samlet.models import Embedding, PromptableModel, maps_of

_PARTS = ("encoder", "decoder")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the gate measured.

    Attributes:
        agreement: mean IoU of the export's masks with the source model's, single-mask and best multimask output.
        worst: the least IoU of a prompt.
        prompts: points and boxes asked.
        worst_prompt: which prompt that least one is of.
        drawn: share of the source model's masks that are not empty.
        embedding_sqnr: of the image embedding, dB; None where no graph gives one.
        simulation_agreement: for int8, mean mask IoU with the simulation of the same scales in PyTorch.
        simulation_sqnr: for int8, of the image embedding against that simulation, dB.
        latency_s: median seconds of `encoder` (one image) and `decoder` (one prompt).
        float_latency_s: the same of the float32 export, by turns in the same run, for int8.
        bytes: of each part's files.
        float_bytes: the same of the float32 export, for int8.
    """

    agreement: float
    worst: float
    prompts: int
    worst_prompt: WorstPrompt | None = None
    drawn: float = 1.0
    embedding_sqnr: float | None = None
    simulation_agreement: float | None = None
    simulation_sqnr: float | None = None
    latency_s: Mapping[str, float] | None = None
    float_latency_s: Mapping[str, float] | None = None
    bytes: Mapping[str, int] | None = None
    float_bytes: Mapping[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def refusals(figures: Figures, config: ExportConfig) -> list[str]:
    """Why an export must not be written; empty if it may."""
    found = []
    if not figures.drawn > 0:
        found.append(
            "the source model's masks are all empty, so agreement says nothing; expected a model that segments"
        )
    for name in ("agreement", "worst", "embedding_sqnr", "simulation_agreement", "simulation_sqnr"):
        value = getattr(figures, name)
        if value is not None and not math.isfinite(value):
            found.append(f"{name} is {value}; expected a finite number")
    if figures.agreement < config.limit:  # a NaN was refused above
        which = f" (the worst is {figures.worst:.4f}: {figures.worst_prompt})" if figures.worst_prompt else ""
        found.append(
            f"mask IoU with the source model is {figures.agreement:.4f}; expected at least {config.limit:g}{which}"
        )
    if config.precision == "int8" and figures.latency_s and figures.float_latency_s:
        own, other = figures.latency_s["encoder"], figures.float_latency_s["encoder"]
        if own >= other:
            found.append(f"the int8 encoder takes {own:.3f} s and float32 {other:.3f} s; expected it to be faster")
    if figures.bytes and figures.float_bytes:
        mine, theirs = sum(figures.bytes.values()), sum(figures.float_bytes.values())
        if mine >= theirs:
            found.append(f"int8 takes {mine} bytes and float32 {theirs}; expected it to be smaller")
    return found


def compare_answers(source: Sequence[Answer], made: Sequence[Answer]) -> tuple[float, float, int]:
    """Mean and least mask IoU, and the number of prompts."""
    rows = agreement(source, made)
    return float(rows.mean()), float(rows.min()), len(rows)


def compare_prompts(asked: Sequence[Probe], source: Sequence[Answer], made: Sequence[Answer]) -> Figures:
    """As `compare_answers`, with the prompt that agrees least."""
    rows = agreement(source, made)
    return Figures(
        agreement=float(rows.mean()),
        worst=float(rows.min()),
        prompts=len(rows),
        worst_prompt=worst_prompt(asked, rows),
    )


def drawn(source: Sequence[Answer]) -> float:
    """Share of masks that are not empty."""
    return float(np.mean([mask.any() for answer in source for masks in answer.masks for mask in masks]))


def sqnr(found: Embedding, expected: Embedding) -> float:
    """Signal to quantization noise ratio, dB; the least of the maps."""
    return min(_sqnr(a, b) for a, b in zip(maps_of(found), maps_of(expected), strict=True))


def _sqnr(found: Tensor, expected: Tensor) -> float:
    noise = float((found - expected).double().square().sum())
    return float(10 * np.log10(float(expected.double().square().sum()) / max(noise, 1e-300)))


def embedding(model: PromptableModel, image: RGBImage, size: int | None) -> Embedding:
    """Of one photograph."""
    pixels, _ = preprocess(image, model.check_image_size(size), *model.preprocessing)
    with torch.inference_mode():
        return model.encode(pixels[None])


def time_parts(models: Mapping[str, PromptableModel], image: RGBImage, size: int | None) -> dict[str, dict[str, float]]:
    """Seconds of encoder and decoder of several models, by turns, by model and part."""
    first = next(iter(models.values()))
    side = first.check_image_size(size)
    pixels = preprocess(image, side, *first.preprocessing)[0][None]
    point, label = torch.full((1, 1, 2), side / 2), torch.ones(1, 1, dtype=torch.long)
    with torch.inference_mode():
        encoded = {name: model.encode(pixels) for name, model in models.items()}
        encode = interleaved({name: lambda m=model: m.encode(pixels) for name, model in models.items()})  # type: ignore[misc]
        decode = interleaved(
            {name: lambda m=model, n=name: m.decode(encoded[n], point, label) for name, model in models.items()}  # type: ignore[misc]
        )
    return {name: {"encoder": encode[name], "decoder": decode[name]} for name in models}


def part_bytes(folder: Path) -> dict[str, int]:
    """Bytes of each part's files, the weights beside them included."""
    return {part: sum(p.stat().st_size for p in folder.glob(f"{part}.*")) for part in _PARTS}
