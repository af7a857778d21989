"""Things that can be added from outside: criteria, selections, losses, encoders, protocols.

A registry is the dispatch: a name has a function, or it is unknown. What comes from outside is recorded with its module
and a digest of its source, so that a run says what it ran.

The command line imports the modules that `SAMLET_PLUGINS` names, separated by commas, and those of installed packages
with an entry point in the group `samlet.plugins`; what they register stands in `--help`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from samlet.errors import InputError

PLUGINS = "SAMLET_PLUGINS"
GROUP = "samlet.plugins"

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Mapping[str, Callable[..., Any]]):
    """Functions by name.

    Args:
        what: one of them, for messages.
        sentences: what each does, by name; names that are registered are added.
    """

    def __init__(self, what: str, sentences: dict[Any, str]) -> None:
        self._what, self._sentences = what, sentences
        self._functions: dict[str, Callable[..., Any]] = {}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._functions:
            raise InputError(f"{self._what} {name!r} is unknown; expected one of {', '.join(self._functions)}")
        return self._functions[name]

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def built_in(self, name: str) -> Callable[[F], F]:
        """Register a function of samlet's own, whose sentence is there already."""

        def add(function: F) -> F:
            self._functions[name] = function
            return function

        return add

    def register(self, name: str, sentence: str) -> Callable[[F], F]:
        """Register a function from outside.

        Args:
            name: by which it is asked for, in lower case, with hyphens.
            sentence: what it does, for `--help` and reports.

        Raises:
            InputError: a name that is no such word, or is taken by something else.
        """
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise InputError(f"the {self._what} cannot be called {name!r}; expected a word such as my-{self._what}")

        def add(function: F) -> F:
            there = self._functions.get(name)
            if there is not None and origin(there) != origin(function):
                raise InputError(f"the {self._what} {name!r} is there already; give another name")
            self._functions[name] = function
            self._sentences[name] = sentence
            return function

        return add

    def unregister(self, name: str) -> None:
        """Forget a function from outside."""
        self._functions.pop(name, None)
        self._sentences.pop(name, None)

    def origin(self, name: str) -> dict[str, str] | None:
        """Module and digest of a function from outside; None for samlet's own."""
        found = origin(self._functions[name]) if name in self._functions else None
        return None if found is None or found["module"].split(".")[0] == "samlet" else found


def origin(function: Callable[..., Any]) -> dict[str, str]:
    """Where a function comes from: module, name, and SHA-256 of its source."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(function)
    name = getattr(function, "__qualname__", type(function).__name__)
    module = getattr(function, "__module__", None) or "__main__"
    return {"module": module, "name": name, "source_sha256": hashlib.sha256(source.encode()).hexdigest()}


def load_plugins() -> None:
    """Import what `SAMLET_PLUGINS` and installed packages name.

    Raises:
        InputError: one of them cannot be imported.
    """
    named = [name.strip() for name in os.environ.get(PLUGINS, "").split(",") if name.strip()]
    installed = [entry.value for entry in importlib.metadata.entry_points(group=GROUP)]
    for name in [*named, *installed]:
        try:
            importlib.import_module(name.partition(":")[0])
        except InputError:
            raise
        except Exception as error:  # whatever a stranger's module does
            raise InputError(
                f"the plugin {name} cannot be imported: {type(error).__name__}: {error}; mend it, or take it out of "
                f"{PLUGINS}"
            ) from error
