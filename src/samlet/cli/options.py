"""Options of the command line from the settings of a config, and the config from what was given."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from samlet.settings import Setting, settings_of, type_of

T = TypeVar("T")


def add_settings(
    parser: Any,
    config: type,
    groups: Mapping[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
) -> None:
    """Add an option for every setting of a config's class.

    Args:
        parser: an `argparse` parser.
        config: a dataclass whose fields are `samlet.settings.setting`.
        groups: of options that are there already, by name.
        leave_out: fields that the command has no option for, or one of its own.
        only: the fields that it has options for, straight in `parser`; all if None.
    """
    places = {"": parser, **(groups or {})}
    exclusive: dict[tuple[str, str], Any] = {}
    for field, known in settings_of(config):
        if known.option == "" or field.name in leave_out or (only is not None and field.name not in only):
            continue
        if only is not None:
            _add(parser, field, known)
            continue
        if known.group not in places:
            places[known.group] = parser.add_argument_group(known.group)
        place = places[known.group]
        if known.one_of is not None:
            if (known.group, known.one_of) not in exclusive:
                exclusive[known.group, known.one_of] = place.add_mutually_exclusive_group()
            place = exclusive[known.group, known.one_of]
        _add(place, field, known)


def _add(place: Any, field: dataclasses.Field[Any], known: Setting) -> None:
    option = known.option or f"--{field.name.replace('_', '-')}"
    more: dict[str, Any] = {"dest": field.name, "default": field.default}
    text = known.help.replace("%", "%%")
    kind = type_of(field)
    if kind is bool:
        place.add_argument(option, action="store_false" if field.default else "store_true", help=text, **more)
        return
    if known.many:
        more |= {"nargs": "+", "action": "extend", "default": [], "metavar": known.metavar}
        place.add_argument(option, help=text, **more)
        return
    if known.choices is not None:
        meanings = "; ".join(f"{name}: {meaning}" for name, meaning in known.choices.items()).replace("%", "%%")
        text = f"{text}. {meanings}"
        more |= {"choices": (*known.choices, *(known.aliases or ())), "metavar": known.metavar or "NAME"}
    else:
        more |= {"type": kind, "metavar": known.metavar or {int: "N", float: "X"}.get(kind, "NAME")}
    usual = f"{field.default:.4g}" if isinstance(field.default, float) else f"{field.default}"
    shown = known.default if known.default is not None else "" if field.default is None else usual
    place.add_argument(option, help=f"{text}; default {shown}" if shown else text, **more)


def given_settings(options: argparse.Namespace, config: type, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What was given of the settings of a config, by the names of its fields.

    Args:
        options: what was parsed; its names are those of the fields.
        config: the dataclass.
        leave_out: fields that say something else than the options of their name.
    """
    values: dict[str, Any] = {}
    for field, known in settings_of(config):
        if field.name in leave_out or not hasattr(options, field.name):
            continue
        value = getattr(options, field.name)
        aliases: Mapping[str, str] = known.aliases or {}
        values[field.name] = tuple(value) if known.many else aliases.get(value, value) if aliases else value
    return values


def config_from(options: argparse.Namespace, config: type[T], **others: Any) -> T:
    """A config of what was given.

    Args:
        options: what was parsed; its names are those of the fields.
        config: the dataclass.
        **others: fields that say something else than the options of their name, or have none.

    Raises:
        InputError: settings that cannot work.
    """
    return config(**given_settings(options, config, tuple(others)), **others)
