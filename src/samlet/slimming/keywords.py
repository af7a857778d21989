"""Keyword arguments of `slim`, so that editors know them; a test holds them to the fields of `SlimConfig`."""

from __future__ import annotations

from pathlib import Path

from samlet.models import EncoderConfig
from samlet.slimming.alpha import AlphaName
from samlet.slimming.config import Criterion, ErrorName, ProcedureName, Selection, StageName, WidthsName
from samlet.training.keywords import TrainingKeywords


class SlimKeywords(TrainingKeywords, total=False):
    """Fields of `SlimConfig`; see there."""

    like: EncoderConfig | None
    widths: WidthsName
    latency_table: Path | None
    importance: Criterion | str
    scoring_images: int
    selection: Selection | str
    whole_heads: bool | None
    recovery_images: int | None
    procedure: ProcedureName
    stage: StageName
    bottleneck_alpha: AlphaName
    embedding_alpha: AlphaName
    alpha_epochs: int | None
    loss: ErrorName | str
    views: int | None
