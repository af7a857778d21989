"""What a mistyped command line may have meant. Nothing here imports torch."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence

NEGATIVE_VALUE = re.compile(r"-\.?\d[\d.,eE+-]*$")
"""A value that begins with a minus, such as -5 or -5,250: no option."""
_NUMBER = re.compile(r",?-?(\d+\.?\d*|\.\d+),?")
_AMBIGUOUS = re.compile(r"ambiguous option: (\S+?)(?:=.*)? could match (.+)", re.DOTALL)
_NO_CHOICE = re.compile(r"(?P<said>.*invalid choice: '?(?P<given>[^']*?)'? \(choose from (?P<known>.*)\))", re.DOTALL)


def alternatives(given: str, known: Iterable[str], most: int = 2) -> str:
    """Words that one may have been meant to be, as the end of a sentence; '' if none is close.

    Args:
        given: what was typed.
        known: what there is.
        most: how many are named.
    """
    words = list(known)
    close = difflib.get_close_matches(given, words, most, 0.6)
    longer = sorted((word for word in words if word.startswith(given)), key=len)
    found = list(dict.fromkeys([*close[:1], *longer, *close[1:]]))
    return f", perhaps you mean {' or '.join(found[:most])}" if found else ""


def names(actions: Iterable[argparse.Action]) -> list[str]:
    """The long names of options."""
    return [name for action in actions for name in action.option_strings if name.startswith("--")]


def split_value(words: Sequence[str], actions: Iterable[argparse.Action]) -> str | None:
    """What to say where numbers that belong together, as in `--point X,Y`, stand as several words; None if none do.

    Args:
        words: of the command line, after the name of the command.
        actions: the options of the command; those whose metavar has a comma take such numbers.
    """
    lists = {name: action.metavar for action in actions for name in action.option_strings if _is_list(action)}
    for place, word in enumerate(words):
        option, equals, first = word.partition("=")
        if option not in lists:
            continue
        following = [first, *words[place + 1 :]] if equals else list(words[place + 1 :])
        numbers: list[str] = []
        for text in following:
            if _NUMBER.fullmatch(text) is None:
                break
            numbers.append(text.strip(","))
        if len(numbers) > 1:
            typed = f"{option}{equals or ' '}{' '.join(following[: len(numbers)])}"
            return f"{typed} is {len(numbers)} words; expected {lists[option]} as one: {option} {','.join(numbers)}"
    return None


def unknown(others: Sequence[str], actions: Iterable[argparse.Action], prog: str) -> str:
    """What to say of words that nothing takes.

    Args:
        others: the words, at least one.
        actions: the options of the command.
        prog: the command's name.
    """
    options = [word.partition("=")[0] for word in others if word.startswith("-") and word not in ("-", "--")]
    if not options:
        many = len(others) > 1
        what = "are more arguments" if many else "is one argument more"
        return f"unrecognized arguments: {' '.join(others)}; {'these' if many else 'this'} {what} than it takes"
    meant = alternatives(options[0], names(actions))
    return f"unrecognized arguments: {' '.join(others)}; {prog} has no option {options[0]}{meant}"


def with_suggestion(message: str, actions: Iterable[argparse.Action]) -> str:
    """A message of argparse's, with the option or the choice that was meant where one is close."""
    if found := _AMBIGUOUS.fullmatch(message):
        return f"there is no option {found[1]}{alternatives(found[1], names(actions)) or f': {message}'}"
    if (found := _NO_CHOICE.fullmatch(message)) and (known := re.findall(r"[\w.+-]+", found["known"])):
        return found["said"] + alternatives(found["given"], known, 1)
    return message


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action.metavar, str) and "," in action.metavar and action.nargs is None
