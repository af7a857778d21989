"""The runtimes that samlet knows: each is a module here whose name ends with `_runtime`, found by its place."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from samlet.runtimes.sessions import Runtime


def _found() -> dict[str, Runtime]:
    names = sorted(info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)]))
    own = [importlib.import_module(f"samlet.runtimes.{name}").RUNTIME for name in names if name.endswith("_runtime")]
    return {runtime.target: runtime for runtime in own}


RUNTIMES: dict[str, Runtime] = _found()
"""Every runtime by the target of its exports."""
