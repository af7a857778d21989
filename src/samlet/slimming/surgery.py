"""Cutting channels: from an encoder and the channels that stay to a smaller, ordinary encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from samlet.errors import InputError
from samlet.models import EncoderConfig, ImageEncoder, Sam, build_encoder


def kept_positions(encoder: ImageEncoder, kept: Mapping[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    """Sorted positions that stay along every (parameter, dimension) that a cut touches.

    Args:
        encoder: the encoder before the cut.
        kept: sorted channel indices by group name.

    Raises:
        InputError: an unknown group, or indices that it does not have.
    """
    groups = {group.name: group for group in encoder.channel_groups()}
    parameters = dict(encoder.named_parameters())
    stays: dict[tuple[str, int], Tensor] = {}
    for name, channels in kept.items():
        if name not in groups:
            raise InputError(f"{name!r} is no channel group of this encoder; expected one of {', '.join(groups)}")
        group = groups[name]
        if not len(channels) or int(channels.min()) < 0 or int(channels.max()) >= group.size:
            raise InputError(f"group {name} has channels 0 to {group.size - 1}; expected at least one of those to keep")
        goes = torch.ones(group.size, dtype=torch.bool)
        goes[channels] = False
        cut = goes.nonzero().flatten()
        for member in group.members:
            key = (member.parameter, member.dim)
            mask = stays.setdefault(key, torch.ones(parameters[member.parameter].shape[member.dim], dtype=torch.bool))
            mask[member.index(cut).flatten()] = False
    return {key: mask.nonzero().flatten() for key, mask in stays.items()}


def cut_encoder(encoder: ImageEncoder, kept: Mapping[str, Tensor]) -> ImageEncoder:
    """A new encoder with only the channels that stay.

    Args:
        encoder: the encoder; it is left as it is.
        kept: sorted channel indices by group name; groups that are not named stay whole.

    Raises:
        InputError: an unknown group, or indices that it does not have.
    """
    positions = kept_positions(encoder, kept)
    smaller = build_encoder(config_with(encoder, {name: len(channels) for name, channels in kept.items()}))
    state = dict(encoder.state_dict())
    for (name, dim), index in positions.items():
        state[name] = state[name].index_select(dim, index.to(state[name].device))
    smaller.load_state_dict(state)
    like = next(encoder.parameters())
    return smaller.to(like.device, like.dtype).train(encoder.training)


def config_with(encoder: ImageEncoder, widths: Mapping[str, int]) -> EncoderConfig:
    """The config of an encoder whose groups have other widths; those that are not named stay whole."""
    config = encoder.config
    for group in encoder.channel_groups():
        if group.name in widths:
            config = _with_width(config, group.config_path, widths[group.name])
    return config


def widths_like(encoder: ImageEncoder, config: EncoderConfig) -> dict[str, int]:
    """Widths, by group, with which an encoder has the shape of another one that was cut from the same kind.

    Raises:
        InputError: no widths of this encoder give that shape.
    """
    widths = {}
    if type(config) is type(encoder.config):
        for group in encoder.channel_groups():
            value: Any = config
            try:
                for step in group.config_path:
                    value = value[step] if isinstance(step, int) else getattr(value, step)
            except IndexError:
                break
            if value < group.size:
                widths[group.name] = int(value)
        found = config_with(encoder, widths)
        if dataclasses.replace(found, image_size=config.image_size) == config:
            return widths
    raise InputError(
        "the model to take widths from has another shape of encoder; expected one that was slimmed from this teacher, "
        "or from one like it"
    )


def with_encoder(sam: Sam, encoder: ImageEncoder) -> Sam:
    """A model with another encoder and a copy of the same prompt encoder and mask decoder."""
    model = Sam(dataclasses.replace(sam.config, encoder=encoder.config))
    model.prompt_encoder.load_state_dict(sam.prompt_encoder.state_dict())
    model.mask_decoder.load_state_dict(sam.mask_decoder.state_dict())
    model.image_encoder = encoder
    return model.to(sam.device, sam.dtype).eval()


def _with_width(config: EncoderConfig, path: tuple[str | int, ...], width: int) -> EncoderConfig:
    field = str(path[0])
    return dataclasses.replace(config, **{field: _replaced(getattr(config, field), path[1:], width)})


def _replaced(value: Any, path: tuple[str | int, ...], width: int) -> Any:
    if not path:
        return width
    index = int(path[0])
    return (*value[:index], _replaced(value[index], path[1:], width), *value[index + 1 :])
