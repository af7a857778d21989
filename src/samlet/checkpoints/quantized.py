"""Quantized layers in the native format: bits in `config.json`, scales and integer weights among the tensors.

`config.json` names every quantized layer with the bits of its factors, None for one that stays float:
`{"weights": 8, "inputs": 8}` for layers with a weight, with `"group": 64` where chunks of so many input channels have
scales of their own; `queries`, `keys`, `probabilities` and `values` for the products of attention, `left` and `right`
for a product. The tensors have the scales by their names in the state dict; a weight on a known grid is stored as int8,
and is that times its scale, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samlet.checkpoints.reading import StateDict
from samlet.errors import CheckpointError
from samlet.models import Sam
from samlet.models.building_blocks import AttentionProducts, Product
from samlet.models.quantized import (
    InputQuantizer,
    LogQuantizer,
    ProbabilityQuantizer,
    QuantizedAttention,
    QuantizedConv2d,
    QuantizedConvTranspose2d,
    QuantizedLinear,
    QuantizedProduct,
    RowQuantizer,
    along,
    out_axis,
    quantized,
)

Entry = Mapping[str, int | None]
"""Bits by factor; None for a factor that stays float."""

_LAYER = ("weights", "inputs")
_GROUP = "group"
_ATTENTION = ("queries", "keys", "probabilities", "values")
_PRODUCT = ("left", "right")
_LAYERS = (QuantizedLinear, QuantizedConv2d, QuantizedConvTranspose2d)
_MOST_BITS = 32
_LEAST, _MOST = -128, 127  # what int8 holds


def describe(sam: Sam) -> dict[str, dict[str, int | None]]:
    """Bits by factor of every quantized layer, by its name."""
    found: dict[str, dict[str, int | None]] = {}
    for name, module in sam.named_modules():
        if isinstance(module, _LAYERS):
            found[name] = {"weights": module.weight_bits, "inputs": _bits(module.inputs)}
            if module.weight_group is not None:
                found[name][_GROUP] = module.weight_group
        elif isinstance(module, QuantizedAttention | QuantizedProduct):
            factors = _ATTENTION if isinstance(module, QuantizedAttention) else _PRODUCT
            found[name] = {factor: _bits(getattr(module, factor)) for factor in factors}
    return found


def _bits(module: nn.Module) -> int | None:
    kinds = InputQuantizer | ProbabilityQuantizer | LogQuantizer | RowQuantizer
    return module.bits if isinstance(module, kinds) else None


def encode(sam: Sam, tensors: Mapping[str, Tensor]) -> StateDict:
    """Weights as int8 where that gives them back bit for bit; other tensors as they are."""
    encoded = dict(tensors)
    for name, module in sam.named_modules():
        if not isinstance(module, _LAYERS) or module.weight_scale is None:
            continue
        weight = tensors[f"{name}.weight"]
        scales = along(tensors[f"{name}.weight_scale"], weight, out_axis(module), module.weight_group)
        whole = (weight / scales).round()
        if weight.dtype != torch.float32 or not bool(((whole >= _LEAST) & (whole <= _MOST)).all()):
            continue
        stored = whole.to(torch.int8)
        if torch.equal((stored.float() * scales).view(torch.int32), weight.contiguous().view(torch.int32)):
            encoded[f"{name}.weight"] = stored.contiguous()
    return encoded


def put_into(sam: Sam, section: Any, tensors: Mapping[str, Tensor], path: Path) -> StateDict:
    """Replace the float layers of a model by quantized ones.

    Args:
        sam: the model, on any device, even `meta`; its weights are not looked at.
        section: what `describe` gave, from a file.
        tensors: what `encode` gave.
        path: the file, for messages.

    Returns:
        The tensors with float weights.

    Raises:
        CheckpointError: the section names what the model or the tensors do not have.
    """
    if not isinstance(section, dict):
        raise _malformed(path, f"quantization is a {type(section).__name__}", "an object of layers and their bits")
    decoded = dict(tensors)
    for name, entry in section.items():
        layer = _layer(sam, name, path)
        _replace(sam, name, _made(layer, name, _checked(layer, name, entry, path), tensors, path))
        if not isinstance(layer, AttentionProducts | Product):
            _decode_weight(decoded, name, layer, entry.get(_GROUP), path)
    for name, value in decoded.items():
        if not value.is_floating_point():
            raise _malformed(path, f"{name} is {value.dtype} and no layer of quantization", "a float tensor")
    return decoded


def _layer(sam: Sam, name: str, path: Path) -> nn.Module:
    try:
        layer = sam.get_submodule(name)
    except AttributeError as error:
        raise _malformed(path, f"quantization names the layer {name[:80]!r}", "a layer of the model") from error
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | AttentionProducts | Product) or not name:
        raise _malformed(path, f"quantization names {name[:80]!r}, a {type(layer).__name__}", "a float layer")
    return layer


def _checked(layer: nn.Module, name: str, entry: Any, path: Path) -> Entry:
    kinds = {AttentionProducts: _ATTENTION, Product: _PRODUCT}
    factors = kinds.get(type(layer), _LAYER)
    grouped = factors is _LAYER and isinstance(entry, dict) and _GROUP in entry
    if not isinstance(entry, dict) or set(entry) != {*factors, *([_GROUP] if grouped else [])}:
        found = ", ".join(str(key)[:20] for key in entry) if isinstance(entry, dict) else f"a {type(entry).__name__}"
        raise _malformed(path, f"quantization of {name} has {found or 'nothing'}", ", ".join(factors))
    if grouped and (type(entry[_GROUP]) is not int or entry[_GROUP] < 1 or entry["weights"] is None):
        found = f"quantization of {name} has groups of {repr(entry[_GROUP])[:20]} and {entry['weights']!r} bits"
        raise _malformed(path, found, "a whole number of input channels, for weights with bits")
    for factor in factors:
        bits = entry[factor]
        if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= _MOST_BITS):
            found = repr(bits)[:20]
            raise _malformed(
                path, f"quantization of {name} has {found} bits of {factor}", f"2 to {_MOST_BITS}, or null"
            )
    return entry


def _made(layer: nn.Module, name: str, entry: Entry, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    convolves = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)

    def inputs(factor: str, channels: int | None = None, axes: int = 2 if convolves else 0) -> InputQuantizer | None:
        bits = entry[factor]
        if bits is None:
            return None
        prefix = f"{name}.{factor}"
        scales = {"scale": _scales(tensors, f"{prefix}.scale", path)}
        for part, positive in (("offset", False), ("negative_scale", True)):
            if f"{prefix}.{part}" in tensors:
                scales[part] = _scales(tensors, f"{prefix}.{part}", path, positive)
        for part, value in scales.items():
            allowed = 1 if part == "negative_scale" else channels
            if allowed is not None and allowed % len(value):
                found = f"{prefix}.{part} has {len(value)} values for {channels} channels"
                raise _malformed(path, found, "one for all or for equal chunks of them")
        return InputQuantizer(scales.pop("scale"), bits, axes_behind=axes, **scales)

    def rows(factor: str) -> RowQuantizer | None:
        bits, prefix = entry[factor], f"{name}.{factor}"
        if bits is None or f"{prefix}.balance" not in tensors:
            return None
        share = _scales(tensors, f"{prefix}.share", path)
        if len(share) > 1:
            raise _malformed(path, f"{prefix}.share has {len(share)} values", "one")
        return RowQuantizer(_scales(tensors, f"{prefix}.balance", path), share, bits)

    if isinstance(layer, AttentionProducts):
        probability: ProbabilityQuantizer | LogQuantizer | None = None
        bits, prefix = entry["probabilities"], f"{name}.probabilities"
        if bits is not None and f"{prefix}.per_octave" in tensors:
            probability = LogQuantizer(_scales(tensors, f"{prefix}.per_octave", path, axes=0), bits)
        elif bits is not None:
            probability = ProbabilityQuantizer(_scales(tensors, f"{prefix}.split", path, axes=0), bits)
        return QuantizedAttention(inputs("queries"), inputs("keys"), probability, inputs("values"))
    if isinstance(layer, Product):
        return QuantizedProduct(rows("left") or inputs("left"), inputs("right", axes=1))
    group, scale = entry.get(_GROUP), None
    if group is not None or f"{name}.weight_scale" in tensors:
        scale = _scales(tensors, f"{name}.weight_scale", path, axes=1 if group is None else 2)
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    assert isinstance(channels, int)
    if group is not None and scale is not None and scale.shape != (expected := _grouped(layer, group)):
        raise _malformed(path, f"{name}.weight_scale has the shape {tuple(scale.shape)}", f"{expected}")
    made = quantized(layer, inputs("inputs", channels), scale, entry["weights"], group)
    assert made is not None
    return made


def _grouped(layer: nn.Module, group: int) -> tuple[int, int]:
    """Shape (out, chunks) of the scales of a layer's weight, for chunks of so many input channels."""
    assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    axis = out_axis(layer)
    return layer.weight.shape[axis], math.ceil(layer.weight.shape[1 - axis] / group)


def _scales(tensors: Mapping[str, Tensor], name: str, path: Path, positive: bool = True, axes: int = 1) -> Tensor:
    value = tensors.get(name)
    if value is None:
        raise _malformed(path, f"there is no {name}", "one, as quantization in config.json says")
    if value.ndim != axes or not value.numel() or not value.is_floating_point():
        expected = ("one float number", "float numbers along one axis", "float numbers along two axes")[axes]
        raise _malformed(path, f"{name} is {value.dtype} of shape {tuple(value.shape)}", expected)
    if not bool(value.isfinite().all()) or (positive and not bool((value > 0).all())):
        wrong = next(v for v in value.flatten().tolist() if not (v > 0 if positive else abs(v) < float("inf")))
        raise _malformed(path, f"{name} holds {wrong:g}", "finite scales above 0" if positive else "finite numbers")
    return value.float().clone()


def _decode_weight(decoded: StateDict, name: str, layer: nn.Module, group: int | None, path: Path) -> None:
    """Replace an int8 weight by what it stands for."""
    value = decoded.get(f"{name}.weight")
    if value is None or value.is_floating_point():
        return
    scale, axis = decoded.get(f"{name}.weight_scale"), out_axis(layer)
    if scale is None or value.dtype != torch.int8 or value.ndim <= axis or len(scale) != value.shape[axis]:
        scales = "no scales" if scale is None else f"{len(scale)} scales"
        found = f"{name}.weight is {value.dtype} of shape {tuple(value.shape)} with {scales}"
        raise _malformed(path, found, "int8 with one scale an output channel in weight_scale")
    assert isinstance(layer.weight, Tensor)
    if group is not None and value.shape != layer.weight.shape:
        raise _malformed(path, f"{name}.weight has the shape {tuple(value.shape)}", f"{tuple(layer.weight.shape)}")
    decoded[f"{name}.weight"] = value.float() * along(scale.float(), value, axis, group)


def _replace(sam: Sam, name: str, made: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(sam.get_submodule(parent), last, made)


def _malformed(path: Path, found: str, expected: str) -> CheckpointError:
    return CheckpointError(f"{path}: {found}; expected {expected}. The model folder is damaged or of another version")
