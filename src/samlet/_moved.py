"""Names of modules that documents once gave and that have moved since: scripts which import them go on working."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

MOVED = {"samlet.inference.labelling": "samlet.labelling.folder"}
"""Where each is now."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the old names; what is imported is the very module of the new one."""

    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(MOVED[spec.name])
        self._specs[module.__name__] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already, and keeps what it knows of itself."""
        module.__spec__ = self._specs[module.__name__]


def keep_old_names() -> None:
    """Let Python find the old names, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
