"""Using a model on photographs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samlet.inference.everything.generator import Everything, MaskGenerator
    from samlet.inference.everything.options import EverythingOptions
    from samlet.inference.prediction import Prediction
    from samlet.inference.predictor import Predictor

_HOMES = {
    "Everything": "everything.generator",
    "EverythingOptions": "everything.options",
    "MaskGenerator": "everything.generator",
    "Prediction": "prediction",
    "Predictor": "predictor",
}

__all__ = ["Everything", "EverythingOptions", "MaskGenerator", "Prediction", "Predictor"]


def __getattr__(name: str) -> Any:
    """Import on first use: options are declared here, and `--help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samlet.inference' has no attribute {name!r}")
    return getattr(importlib.import_module(f"samlet.inference.{_HOMES[name]}"), name)
