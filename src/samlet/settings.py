"""Settings declared once: a field of a frozen dataclass with its help, choices and bounds.

The checks of a config, its documentation, and the options of the command line (`samlet.cli.options`) follow from them.
Nothing here imports torch, so that `--help` is quick. tyro and jsonargparse do the like; importing either takes longer
than all of `samlet slim --help`, and neither ends in one line where an option is wrong.

>>> @documented
... @dataclass(frozen=True, kw_only=True)
... class Config:
...     rounds: int = setting(3, "how often it is done", least=1)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from samlet.errors import InputError

MOST_SEED = 2**32 - 1
MOST_WHOLE = 10**9
"""Of a whole number that no bound is declared for: steps, passes, photographs."""

_KEY = "samlet"
_TYPES = {"int": int, "float": float, "bool": bool, "Path": Path, "str": str}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a field beside its default.

    Attributes:
        help: what it is, in words.
        choices: the values it may have, and what each means.
        least: the smallest value.
        most: the largest value.
        above: what the value must exceed.
        below: what the value must stay under.
        infinite: infinity is a value, too.
        group: of options in `--help`; '' for the first.
        one_of: options of the same name here exclude each other.
        option: on the command line, `--name-of-the-field` if None, '' for none; a switch that starts with `--no-` turns
            off what is on.
        metavar: what stands for the value in `--help`.
        default: what the help says of the default; the default itself if None, '' for nothing.
        many: any number of values.
        example: of a value, for messages.
        aliases: other names of choices on the command line.
    """

    help: str
    choices: Mapping[Any, str] | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    infinite: bool = False
    group: str = ""
    one_of: str | None = None
    option: str | None = None
    metavar: str | None = None
    default: str | None = None
    many: bool = False
    aliases: Mapping[str, str] | None = None
    example: str | None = None


def setting(default: Any, help: str, /, **known: Any) -> Any:
    """A field of a config; see `Setting`. Without a default, pass `dataclasses.MISSING`."""
    found = Setting(help=help, **known)
    return dataclasses.field(metadata={_KEY: found}) if default is dataclasses.MISSING else _field(default, found)


def _field(default: Any, found: Setting) -> Any:
    return dataclasses.field(default=default, metadata={_KEY: found})


def settings_of(config: Any) -> Iterator[tuple[dataclasses.Field[Any], Setting]]:
    """The fields of a config, or of its class, that are settings."""
    for field in dataclasses.fields(config):
        if _KEY in field.metadata:
            yield field, field.metadata[_KEY]


def type_of(field: dataclasses.Field[Any]) -> Any:
    """What turns the text of an option into a field's value."""
    kinds = str(field.type).split(" | ")
    return str if "str" in kinds else _TYPES.get(kinds[0], str)


def config_of(config: type[T], settings: Mapping[str, Any], function: str) -> T:
    """A config of keyword arguments.

    Raises:
        InputError: a name that is no field, with those that are; or settings that cannot work.
    """
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if unknown := sorted(settings.keys() - known):
        raise InputError(
            f"{function} was given {unknown[0]!r}; expected fields of {config.__name__}: {', '.join(sorted(known))}"
        )
    return config(**settings)


def check_settings(config: Any) -> None:
    """Refuse values that are none of the choices, or out of bounds.

    Raises:
        InputError: the first of them, by name, with what was expected.
    """
    for field, known in settings_of(config):
        value = getattr(config, field.name)
        if value is None:
            continue
        if known.choices is not None and value not in known.choices:
            raise InputError(f"{field.name} {value!r} is unknown; expected one of {', '.join(map(str, known.choices))}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, int) and known.most is None and value > MOST_WHOLE:
            raise InputError(f"{field.name} is {value:.4g}; expected at most {MOST_WHOLE}")
        if not (math.isfinite(value) or (known.infinite and not math.isnan(value))) or not _within(value, known):
            such = "" if known.example is None else f", such as {known.example}"
            raise InputError(f"{field.name} is {value:.10g}; expected {bounds(known)}{such}")


def _within(value: float, known: Setting) -> bool:
    return (
        (known.least is None or value >= known.least)
        and (known.most is None or value <= known.most)
        and (known.above is None or value > known.above)
        and (known.below is None or value < known.below)
    )


def bounds(known: Setting) -> str:
    """What a number must be, in words."""
    if known.least is not None and known.most is not None:
        return f"{known.least:.10g} to {known.most:.10g}"
    if known.above is not None and known.below is not None:
        return f"a number between {known.above:g} and {known.below:g}, both excluded"
    if known.above is not None and known.most is not None:
        return f"a number above {known.above:g}, at most {known.most:g}"
    if known.least is not None and known.below is not None:
        return f"a number from {known.least:g} up to {known.below:g}"
    if known.infinite:
        return "a number, or inf"
    if known.above is not None:
        return "a positive number" if known.above == 0 else f"a number above {known.above:g}"
    return "a finite number" if known.least is None else f"at least {known.least:.10g}"


def documented(cls: type[T]) -> type[T]:
    """Write the settings of a config into the documentation of its class."""
    lines = []
    for field, known in settings_of(cls):
        text = " ".join(known.help.split()).replace("%%", "%")
        if known.choices is not None:
            text += ". " + "; ".join(f"`{name}`: {meaning}" for name, meaning in known.choices.items())
        lines.append(f"    {field.name}: {text}.")
    cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\nAttributes:\n" + "\n".join(lines) + "\n"
    return cls
