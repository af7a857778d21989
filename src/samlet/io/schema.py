"""What a document must look like, said as types; what differs is told with the path of its field.

A schema is a `TypedDict`, a dataclass, or any annotation of the kinds below. It is small on purpose: pydantic does this
too, but the package does without it (only `samlet serve` needs it), its message has several lines, and a list of a
million wrong entries gives a million errors. Here the first one ends the check.

>>> class Line(TypedDict):
...     image: str
...     masks: list[dict[str, Any]]
>>> checked({"image": "a.jpg", "masks": [3]}, Line)
Traceback (most recent call last):
SchemaError: masks[0] is 3; expected an object
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

from samlet.errors import InputError

MOST_ENTRIES = 1 << 20
"""Of one list."""

_SHOWN = 60


class SchemaError(InputError):
    """A field that is not what it should be: its path, what stands there, and what was expected."""


def checked(value: Any, kind: Any, place: str = "") -> Any:
    """A value of a document as a type has it: tuples are made of lists, and floats of whole numbers.

    Args:
        value: from JSON.
        kind: `int`, `float` (finite), `bool`, `str`, `None`, `Any`, `Literal`, unions, `list[…]`, `tuple[…]`,
            `dict[str, …]`, a `TypedDict` (other keys may be there) or a dataclass, of which a dictionary of its fields
            is made (other keys may not).
        place: path of the value, for messages.

    Raises:
        SchemaError: it is something else.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired):
        return checked(value, arguments[0], place)
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, kind, place)
    if origin is Literal:
        if any(type(value) is type(one) and value == one for one in arguments):
            return value
        raise wrong(value, f"one of {', '.join(map(str, arguments))}", place)
    if origin in (list, tuple):
        return _entries(value, origin, arguments, place)
    if origin is dict:
        _object(value, place)
        return {key: checked(one, arguments[1], _join(place, key)) for key, one in value.items()}
    if is_typeddict(kind):
        _object(value, place)
        hints = _hints(kind)
        for key, hint in hints.items():
            if get_origin(hint) is not NotRequired and key not in value:
                raise SchemaError(f"{_join(place, key)} is missing; expected {_said(hint)}")
        return {k: checked(v, hints[k], _join(place, k)) if k in hints else v for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _fields(value, kind, place)
    return _plain(value, kind, place)


def _plain(value: Any, kind: Any, place: str) -> Any:
    if kind is Any:
        return value
    if kind is dict:
        return _object(value, place)
    if kind is list:
        return _entries(value, list, (Any,), place)
    if kind is float:
        if is_number(value):
            return float(value)
        raise wrong(value, "a finite number", place)
    known = type(None) if kind is None else kind
    if type(value) is not known:
        raise wrong(value, _said(kind), place)
    return value


def is_number(value: Any) -> bool:
    """Whether a value of a JSON is a finite number; whole ones have at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def _one_of(value: Any, kinds: tuple[Any, ...], kind: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [one for one in kinds if one is not type(None)]
    if len(rest) == 1:
        return checked(value, rest[0], place)
    for one in rest:
        try:
            return checked(value, one, place)
        except SchemaError:
            continue
    raise wrong(value, _said(kind), place)


def _entries(value: Any, origin: Any, arguments: tuple[Any, ...], place: str) -> Any:
    if not isinstance(value, list | tuple):
        raise wrong(value, "a list", place)
    if len(value) > MOST_ENTRIES:
        raise SchemaError(f"{place or 'the whole'} has {len(value)} entries; expected at most {MOST_ENTRIES}")
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise wrong(value, f"a list of {len(arguments)}", place)
        return tuple(checked(one, kind, f"{place}[{i}]") for i, (one, kind) in enumerate(zip(value, arguments)))  # noqa: B905
    if arguments[0] is Any:
        return origin(value)
    return origin(checked(one, arguments[0], f"{place}[{i}]") for i, one in enumerate(value))


def _fields(value: Any, kind: Any, place: str) -> dict[str, Any]:
    _object(value, place)
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise SchemaError(f"{_join(place, key)} is unknown; expected one of {', '.join(fields)}")
    for name, field in fields.items():
        given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not given and name not in value:
            raise SchemaError(f"{_join(place, name)} is missing; expected {_said(hints[name])}")
    return {key: checked(one, hints[key], _join(place, key)) for key, one in value.items()}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except NameError:  # of a class from outside that was made inside a function
        return dict.fromkeys((field.name for field in dataclasses.fields(kind)), Any)


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong(value, "an object", place)
    return value


def wrong(value: Any, expected: str, place: str) -> SchemaError:
    """The error of a value that is not what was expected."""
    return SchemaError(f"{place or 'the whole'} is {shown(value)}; expected {expected}")


def shown(value: Any) -> str:
    """A value in a few characters of one line."""
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list | tuple) and len(value) > 8:
        return f"a list of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _join(place: str, key: Any) -> str:
    text = str(key)
    return f"{place}.{text[:_SHOWN]}" if place else text[:_SHOWN]


def _said(kind: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", dict: "an object"}
    if kind in words:
        return words[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is None or kind is type(None):
        return "null"
    if origin in (Required, NotRequired):
        return _said(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_said(one) for one in arguments)
    if origin in (list, tuple) or kind is list:
        return "a list"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    return "an object"
