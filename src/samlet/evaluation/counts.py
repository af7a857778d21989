"""Sizes of the models of the zoo, counted once: counting all of them takes many seconds.

`assets/zoo_counts.json` holds them with a digest of each architecture; `scripts/count_zoo.py` writes it. A model whose
architecture is another one by now is counted anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.resources import files
from typing import NamedTuple

import torch

from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.models import Sam, SamConfig


class Counts(NamedTuple):
    """Weights of the whole model, and multiply-accumulates of its encoder at its own size, by both conventions."""

    parameters: int
    macs_modules: int
    macs_total: int


def counts(config: SamConfig) -> Counts:
    """Of an architecture, looked up or counted."""
    found = _table().get(digest(config))
    return counted(config) if found is None else Counts(*found)


def counted(config: SamConfig) -> Counts:
    """Of an architecture, counted."""
    with torch.device("meta"):
        sam = Sam(config)
    macs = count_encoder_macs(sam)
    return Counts(count_parameters(sam), macs.macs_modules, macs.macs_total)


def digest(config: SamConfig) -> str:
    """What tells one architecture from another."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _table() -> dict[str, list[int]]:
    return json.loads((files("samlet") / "assets" / "zoo_counts.json").read_text(encoding="utf-8"))
