"""Channel groups: which parameter rows and columns must be cut together.

An encoder declares its groups; importance, selection and surgery are written once, over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samlet.models.embedding import Embedding


@dataclass(frozen=True)
class Segment:
    """A part of an encoder's way from image to embedding; the next one begins with what it returns.

    Attributes:
        modules: names of the modules that it runs, in order.
        run: from the state before, (B, …), or several such tensors, to the state after.
    """

    modules: tuple[str, ...]
    run: Callable[[Any], Embedding]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One dimension of one parameter that a group's channels run along.

    Attributes:
        parameter: name in the encoder's `named_parameters`.
        dim: the dimension.
        offset: index of channel 0 of the first copy.
        copies: how often the group's channels appear along the dimension (once for each head, say).
        step: distance between the copies.
        span: neighbouring entries that one channel covers (all the rows of a head, say).
    """

    parameter: str
    dim: int
    offset: int = 0
    copies: int = 1
    step: int = 0
    span: int = 1

    def index(self, channels: Tensor) -> Tensor:
        """Positions along the dimension of the given channels, (copies, channels, span)."""
        starts = self.offset + self.step * torch.arange(self.copies)
        return starts[:, None, None] + self.span * channels[None, :, None] + torch.arange(self.span)


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that are cut together.

    Attributes:
        name: unique in its encoder.
        kind: `embedding` for a residual stream, `bottleneck` for the inside of a block, `head` for whole attention
            heads, which overlap with the bottleneck channels inside them.
        family: bottleneck groups of one family are ranked together in a global selection.
        size: number of channels.
        divisor: the number of channels kept is a multiple of this.
        members: every place that the channels appear in.
        config_path: where the size stands in the encoder's config, a field name and then indices.
        stage: of the encoder, counted from 0; groups of one family and stage share a width in a searched allocation.
    """

    name: str
    kind: Literal["embedding", "bottleneck", "head"]
    family: str
    size: int
    divisor: int
    members: tuple[Member, ...]
    config_path: tuple[str | int, ...]
    stage: int = 0


def rows_and_bias(layer: str, **where: int) -> list[Member]:
    """Members of a layer whose output channels are the group's."""
    return [Member(parameter=f"{layer}.{p}", dim=0, **where) for p in ("weight", "bias")]


def columns(layer: str, **where: int) -> list[Member]:
    """Members of a layer whose input channels are the group's."""
    return [Member(parameter=f"{layer}.weight", dim=1, **where)]


def norm(layer: str) -> list[Member]:
    """Members of a normalisation over the group's channels."""
    return rows_and_bias(layer)


def stream_groups(streams: Sequence[Sequence[Member]], sizes: Sequence[int]) -> list[ChannelGroup]:
    """The residual streams of an encoder of several stages, of sizes `embed_dims` in its config."""
    return [
        ChannelGroup(
            name=f"embedding.{stage}",
            kind="embedding",
            family="embedding",
            size=sizes[stage],
            divisor=8,
            members=tuple(members),
            config_path=("embed_dims", stage),
            stage=stage,
        )
        for stage, members in enumerate(streams)
    ]


def mlp_group(
    mlp: str, layers: tuple[str, str], size: int, divisor: int, path: Sequence[str | int], stage: int
) -> ChannelGroup:
    """The hidden channels of an MLP.

    Args:
        mlp: name of the module, and of the group.
        layers: names of its two linear layers inside it.
        size: hidden channels.
        divisor: kept channels are a multiple of this.
        path: of `size` in the config.
        stage: of the encoder.
    """
    first, second = (f"{mlp}.{layer}" for layer in layers)
    return ChannelGroup(
        name=mlp,
        kind="bottleneck",
        family="mlp",
        size=size,
        divisor=divisor,
        members=(*rows_and_bias(first), *columns(second)),
        config_path=tuple(path),
        stage=stage,
    )


def attention_groups(
    block: str,
    heads: int,
    qk_dim: int,
    v_dim: int,
    divisor: int,
    paths: Sequence[tuple[str | int, ...]],
    packed: bool,
    stage: int,
    family: str = "attention",
) -> list[ChannelGroup]:
    """The groups of an attention: query/key channels and value channels, each tied across the heads; whole heads.

    Args:
        block: name of the attention module, with `qkv` and `proj` inside.
        heads: number of heads.
        qk_dim: query and key channels of a head.
        v_dim: value channels of a head.
        divisor: kept channels of a head are a multiple of this.
        paths: config paths of `qk_dim`, of `v_dim` and of `heads`.
        packed: rows of `qkv` are (head, [q, k, v]) if true, ([q, k, v], head) if not.
        stage: of the encoder.
        family: of the groups; it ends in `attention`.
    """
    if packed:
        step = 2 * qk_dim + v_dim
        q, k, v = ({"offset": o, "copies": heads, "step": step} for o in (0, qk_dim, 2 * qk_dim))
    else:
        q = {"offset": 0, "copies": heads, "step": qk_dim}
        k = {"offset": heads * qk_dim, "copies": heads, "step": qk_dim}
        v = {"offset": 2 * heads * qk_dim, "copies": heads, "step": v_dim}
    if packed:
        whole = rows_and_bias(f"{block}.qkv", span=2 * qk_dim + v_dim)
    else:
        starts = ((0, qk_dim), (heads * qk_dim, qk_dim), (2 * heads * qk_dim, v_dim))
        whole = [m for at, span in starts for m in rows_and_bias(f"{block}.qkv", offset=at, span=span)]
    return [
        ChannelGroup(
            name=f"{block}.qk",
            kind="bottleneck",
            family=family,
            size=qk_dim,
            divisor=divisor,
            members=(*rows_and_bias(f"{block}.qkv", **q), *rows_and_bias(f"{block}.qkv", **k)),
            config_path=tuple(paths[0]),
            stage=stage,
        ),
        ChannelGroup(
            name=f"{block}.v",
            kind="bottleneck",
            family=family,
            size=v_dim,
            divisor=divisor,
            members=(
                *rows_and_bias(f"{block}.qkv", **v),
                *columns(f"{block}.proj", copies=heads, step=v_dim),
            ),
            config_path=tuple(paths[1]),
            stage=stage,
        ),
        ChannelGroup(
            name=f"{block}.heads",
            kind="head",
            family=family,
            size=heads,
            divisor=1,
            members=(*whole, *columns(f"{block}.proj", span=v_dim)),
            config_path=tuple(paths[2]),
            stage=stage,
        ),
    ]
