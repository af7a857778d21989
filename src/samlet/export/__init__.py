"""Export: a model for other runtimes, let out only when it agrees with its source there."""

from __future__ import annotations

from samlet.export.config import TARGETS, ExportConfig
from samlet.export.pipeline import export_model
from samlet.export.result import Exported

__all__ = ["TARGETS", "ExportConfig", "Exported", "export_model"]
