"""Export: a model for other runtimes, let out only when it agrees with its source there."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samlet.export.config import ExportConfig
    from samlet.export.pipeline import export_model

__all__ = ["ExportConfig", "export_model"]

_HOMES = {"ExportConfig": "config", "export_model": "pipeline"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line answers `--help` without waiting for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samlet.export' has no attribute {name!r}")
    return getattr(importlib.import_module(f"samlet.export.{_HOMES[name]}"), name)
