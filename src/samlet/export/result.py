"""What an export made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samlet.export.bundles import Variant
from samlet.export.config import ExportConfig
from samlet.export.verification import Figures


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was made.

    Attributes:
        folder: of the export.
        config: the settings.
        files: bytes of each file, by name.
        figures: what the gate measured.
        refused: why the gate would not let it out; empty if it would.
        seconds: of the whole.
        layers: for int8, what became of each layer.
        notes: remarks for the user.
        variants: of targets that are written in several precisions, each of them.
    """

    folder: Path
    config: ExportConfig
    files: Mapping[str, int]
    figures: Figures
    refused: Sequence[str]
    seconds: float
    layers: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = field(default_factory=list)
    variants: Sequence[Variant] = ()
