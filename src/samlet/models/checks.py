"""Checks that configs share."""

from __future__ import annotations

from typing import Any, get_args

from samlet.bounds import IMAGE_SIZE
from samlet.errors import InputError
from samlet.io.schema import shown

WIDEST = 1 << 16
"""More channels than any model has."""
MOST_BLOCKS = 256
"""More blocks than any encoder, or stage of one, has."""
MOST_IMAGE_SIZE = IMAGE_SIZE.most
"""Pixels of a side of the encoder's input: 64 times the work of 1024."""
MOST_LAYERS = 64
"""More layers than any head or decoder has."""


def check_positive(owner: str, **values: Any) -> None:
    """Refuse fields of a config that are not whole numbers from 1 to `WIDEST`, at every depth of tuples."""
    for name, value in values.items():
        entries = value if isinstance(value, tuple) else (value,)
        check_blocks(owner, **{name: entries})
        for entry in entries:
            if isinstance(entry, tuple):
                check_positive(owner, **{name: entry})
            elif not isinstance(entry, int) or isinstance(entry, bool) or not 1 <= entry <= WIDEST:
                shown = repr(value) if len(repr(value)) < 200 else repr(entry)
                raise InputError(
                    f"{owner}.{name} is {shown}; every width must be a whole number from 1 to {WIDEST}, no more than "
                    "any model has"
                )


def check_blocks(owner: str, **values: tuple[Any, ...]) -> None:
    """Refuse more entries than any encoder has blocks."""
    for name, value in values.items():
        if len(value) > MOST_BLOCKS:
            raise InputError(f"{owner}.{name} has {len(value)} entries; expected at most {MOST_BLOCKS} blocks")


def check_choice(name: str, value: Any, kind: Any) -> None:
    """Refuse what is none of a `Literal`'s values."""
    if not isinstance(value, str) or value not in get_args(kind):
        raise InputError(f"{name} is {shown(value)}; expected one of {', '.join(get_args(kind))}")


def check_lengths(owner: str, expected: int, **values: tuple[Any, ...]) -> None:
    """Refuse tuples that have not one entry for each block."""
    for name, value in values.items():
        if len(value) != expected:
            raise InputError(f"{owner}.{name} has {len(value)} entries; {expected} expected, one for each block")
