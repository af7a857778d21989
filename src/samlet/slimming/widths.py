"""What an encoder costs at other widths, without building it: every layer is counted once, then scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from samlet.models import ChannelGroup, EncoderConfig, ImageEncoder, build_encoder
from samlet.models.modes import whole_layers

Widths = dict[str, int]
"""Channels that stay, by group name; groups that are not named stay whole."""


@dataclass(frozen=True)
class _Along:
    """The channels of a group along one dimension of a parameter.

    Attributes:
        group: name.
        entries: of the dimension, for each channel.
        size: channels in all.
        everything: the group's channels are the dimension (whole heads), whatever else is cut along it.
    """

    group: str
    entries: int
    size: int
    everything: bool


class WidthCost:
    """Multiply-accumulates and parameters of an encoder by the widths of its groups.

    Exact: the same numbers as `evaluation.costs` counts for the encoder that is cut so (linear layers and convolutions,
    and their weights, norms and tables).

    Args:
        encoder: before any cut.
        image_size: side of its input, pixels.

    Attributes:
        positions: at how many places of one image each layer is computed, by name.
    """

    def __init__(self, encoder: ImageEncoder, image_size: int) -> None:
        self._shapes = {name: tuple(p.shape) for name, p in encoder.named_parameters()}
        self.positions = _positions(encoder.config, image_size)
        self._along: dict[tuple[str, int], list[_Along]] = {}
        for group in encoder.channel_groups():
            for (name, dim), entries in _entries(group).items():
                everything = group.kind == "head"
                self._along.setdefault((name, dim), []).append(_Along(group.name, entries, group.size, everything))

    def shape(self, name: str, widths: Mapping[str, int]) -> list[int]:
        """Shape of a parameter at these widths."""
        found = []
        for dim, size in enumerate(self._shapes[name]):
            left, heads = size, 1.0
            for along in self._along.get((name, dim), ()):
                width = widths.get(along.group, along.size)
                if along.everything:
                    heads *= width / along.size
                else:
                    left -= along.entries * (along.size - width)
            found.append(round(left * heads))
        return found

    def macs(self, widths: Mapping[str, int]) -> int:
        """Multiply-accumulates of one image, linear layers and convolutions only."""
        return sum(self.layers(widths).values())

    def layers(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Multiply-accumulates of each layer, by name."""
        return {name: count * prod(self.shape(f"{name}.weight", widths)) for name, count in self.positions.items()}

    def parameters(self, widths: Mapping[str, int]) -> int:
        """Number of weights."""
        return sum(prod(self.shape(name, widths)) for name in self._shapes)


def _entries(group: ChannelGroup) -> dict[tuple[str, int], int]:
    """Entries that one channel of a group covers, along every (parameter, dimension)."""
    found: dict[tuple[str, int], int] = {}
    for member in group.members:
        key = (member.parameter, member.dim)
        found[key] = found.get(key, 0) + member.copies * member.span
    return found


def _positions(config: EncoderConfig, image_size: int) -> dict[str, int]:
    """At how many positions each layer is computed, by name."""
    with torch.device("meta"):
        shadow = build_encoder(config).requires_grad_(False)
    found: dict[str, int] = {}

    def counting(name: str):  # type: ignore[no-untyped-def]
        def hook(layer: nn.Module, _: object, output: Tensor) -> None:
            channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            found[name] = found.get(name, 0) + output.numel() // int(channels)  # type: ignore[arg-type]

        return hook

    for name, layer in shadow.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(counting(name))
    with whole_layers(), torch.no_grad():
        shadow(torch.empty(1, 3, image_size, image_size, device="meta"))
    return found
