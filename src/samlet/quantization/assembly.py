"""From the scales that were found to a quantized model and what is said of each layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from samlet.checkpoints import quantized
from samlet.models import Sam
from samlet.models.quantized import along, fake_quantize, out_axis
from samlet.quantization.config import QuantConfig
from samlet.quantization.search import Entry, Found
from samlet.quantization.sites import Site

_NEVER_REACHED = "the calibration's prompts never reach it"
OUTLIER_DB = 12.0
"""A layer whose signal over noise lies below the median by so much is out of line, dB."""


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        name: in the model.
        kind: what it computes.
        weights: bits of a weight; None for float, or none.
        inputs: bits of an input, for products of each factor; None for float.
        error: see `search.Found`; None where the layer stays float.
        sqnr: in dB; None where the layer stays float.
        loss: see `search.Found`; None where the layer stays float.
        macs: multiply-accumulates for one photograph and one prompt; None where the layer stays float.
        float_reason: why the layer stays float; None if it is quantized.
        out_of_line: its signal over noise is far below that of the others.
    """

    name: str
    kind: str
    weights: int | None = None
    inputs: int | None = None
    error: float | None = None
    sqnr: float | None = None
    loss: float | None = None
    macs: float | None = None
    float_reason: str | None = None
    out_of_line: bool = False


def assemble(sam: Sam, final: Mapping[str, Found], config: QuantConfig) -> Sam:
    """A copy with quantized layers in place of the float ones, their weights on the grids."""
    made = copy.deepcopy(sam)
    section: dict[str, Entry] = {}
    tensors: dict[str, Tensor] = {}
    for name, found in final.items():
        section[name] = found.entry
        tensors |= {f"{name}.{part}": value.to(sam.device, sam.dtype) for part, value in found.tensors.items()}
        bits = found.entry.get("weights")
        if bits is None:
            continue
        layer = made.get_submodule(name)
        assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        scales = along(tensors[f"{name}.weight_scale"], layer.weight, out_axis(layer), found.entry.get("group"))
        with torch.no_grad():  # + 0.0: no negative zeros, which integers do not have
            layer.weight.copy_(fake_quantize(layer.weight, scales, *config.weight_levels(bits)) + 0.0)
    quantized.put_into(made, section, tensors, Path("the search"))
    return made.to(sam.device, sam.dtype)


def describe(sites: Sequence[Site], final: Mapping[str, Found]) -> list[LayerReport]:
    """What became of each layer, in the order of the model."""
    noises = sorted(found.sqnr for found in final.values())
    limit = noises[len(noises) // 2] - OUTLIER_DB
    layers = []
    for site in sites:
        found = final.get(site.name)
        if found is None:
            reason = site.float_reason or _NEVER_REACHED
            layers.append(LayerReport(site.name, site.kind, float_reason=reason))
            continue
        inputs = found.entry["inputs"] if site.has_weight else next(iter(found.entry.values()))
        layers.append(
            LayerReport(
                site.name,
                site.kind,
                weights=found.entry.get("weights"),
                inputs=inputs,
                error=found.error,
                sqnr=found.sqnr,
                loss=found.loss,
                macs=found.macs,
                out_of_line=found.sqnr < limit,
            )
        )
    return layers
