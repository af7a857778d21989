"""The places of a model that can be quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from samlet.errors import InputError
from samlet.models import Sam
from samlet.models.building_blocks import AttentionProducts, Product
from samlet.quantization.config import FLOAT_BITS, QuantConfig

Kind = Literal["linear", "convolution", "transposed convolution", "attention", "product"]
_KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv2d: "convolution",
    nn.ConvTranspose2d: "transposed convolution",
    AttentionProducts: "attention",
    Product: "product",
}
_SHOWN = 4


@dataclass(frozen=True)
class Site:
    """A layer, or the products of an attention, by its name in the model.

    Attributes:
        name: as `named_modules()` gives it.
        kind: what it computes.
        float_reason: why it stays float; None if it is quantized.
    """

    name: str
    kind: Kind
    float_reason: str | None = None

    @property
    def has_weight(self) -> bool:
        """Whether one of its factors is a weight."""
        return self.kind not in ("attention", "product")


def find_sites(sam: Sam, config: QuantConfig) -> list[Site]:
    """Every place that can be quantized, in the order of the model's modules.

    Raises:
        InputError: a pattern of `keep_float` fits no name, or all layers stay float.
    """
    found = {name: (module, _KINDS[type(module)]) for name, module in sam.named_modules() if type(module) in _KINDS}
    for pattern in config.keep_float:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise InputError(
                f"keep_float {pattern!r} fits no layer; layers are named such as {_examples(list(found))}, and * "
                "stands for anything"
            )
    sites = [Site(name, kind, _reason(name, kind, module, config)) for name, (module, kind) in found.items()]
    if all(site.float_reason for site in sites):
        raise InputError("no layer would be quantized; keep fewer of them float")
    return sites


def _examples(names: Sequence[str]) -> str:
    scale = max(1, len(names) // _SHOWN)
    return ", ".join(names[::scale][:_SHOWN])


def _reason(name: str, kind: Kind, module: nn.Module, config: QuantConfig) -> str | None:
    for pattern in config.keep_float:
        if fnmatchcase(name, pattern):
            return f"kept float by {pattern}"
    if kind in ("attention", "product"):
        if config.scheme == "integer":
            return "products stay float in scheme integer"
        if config.mixed is None and config.activations == FLOAT_BITS:
            return "it has no weights, and inputs stay float"
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        return "its padding is none that can be quantized"
    if isinstance(module, nn.ConvTranspose2d) and (
        module.kernel_size != module.stride or any(module.padding) or any(module.output_padding) or module.groups != 1
    ):
        return "its kernel overlaps itself"
    return None
