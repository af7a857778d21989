"""Prompt encoders with their mask decoders: a folder each, found as image encoders are; see `models.encoders`.

A folder's `__init__.py` names one `DecoderKind`, called `DECODER`; the folder's name is the `style` in configs.
"""

from __future__ import annotations

import importlib
import pkgutil

from samlet.models.decoders.config import DecoderConfig
from samlet.models.decoders.kind import DecoderKind

__all__ = ["DECODERS", "DecoderConfig", "DecoderKind"]


def _found() -> dict[str, DecoderKind]:
    folders = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.ispkg)
    return {name: importlib.import_module(f"{__name__}.{name}").DECODER for name in folders}


DECODERS: dict[str, DecoderKind] = _found()
"""Every kind of decoder by its style."""
