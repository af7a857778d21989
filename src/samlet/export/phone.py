"""A model for ExecuTorch: two programs of fixed sizes, with XNNPACK."""

from __future__ import annotations

from pathlib import Path

from samlet.export.config import ExportConfig
from samlet.models import Sam


def write_pte(sam: Sam, folder: Path, config: ExportConfig) -> dict[str, str]:
    """Write `encoder.pte` and `decoder.pte`; see `samlet.export.writers.write_graphs`."""
    raise NotImplementedError
