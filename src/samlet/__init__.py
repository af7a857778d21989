"""samlet makes Segment Anything Models small, and proves it.

>>> sam = samlet.load("mobile_sam")
>>> predictor = samlet.Predictor(sam)
>>> predictor.set_image("photo.jpg")
>>> answer = predictor.predict(points=[[500, 375]])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samlet._moved import keep_old_names
from samlet._version import __version__

keep_old_names()

if TYPE_CHECKING:
    from samlet.checkpoints import save
    from samlet.data.datasets import open_dataset
    from samlet.distillation.config import DistillConfig
    from samlet.distillation.folder import distill
    from samlet.errors import CheckpointError, InputError, SamletError
    from samlet.evaluation import Contestant, compare, cost, evaluate, evaluate_all
    from samlet.extending import (
        register_criterion,
        register_encoder,
        register_loss,
        register_protocol,
        register_selection,
    )
    from samlet.inference import EverythingOptions, MaskGenerator, Prediction, Predictor
    from samlet.labelling.convert import convert_labels
    from samlet.labelling.folder import label
    from samlet.labelling.review import review
    from samlet.models import Sam, SamConfig, TinyViTConfig, ViTConfig
    from samlet.publishing.push import push_to_hub
    from samlet.quantization.config import QuantConfig
    from samlet.quantization.folder import quantize
    from samlet.runtimes import ExportedSam
    from samlet.slimming.config import SlimConfig
    from samlet.slimming.folder import slim
    from samlet.zoo import load

_HOMES = {
    "register_criterion": "extending",
    "register_encoder": "extending",
    "register_loss": "extending",
    "register_protocol": "extending",
    "register_selection": "extending",
    "CheckpointError": "errors",
    "Contestant": "evaluation",
    "DistillConfig": "distillation.config",
    "EverythingOptions": "inference",
    "ExportedSam": "runtimes",
    "InputError": "errors",
    "MaskGenerator": "inference",
    "Prediction": "inference",
    "Predictor": "inference",
    "QuantConfig": "quantization.config",
    "Sam": "models",
    "SamConfig": "models",
    "SamletError": "errors",
    "SlimConfig": "slimming.config",
    "TinyViTConfig": "models",
    "ViTConfig": "models",
    "compare": "evaluation",
    "convert_labels": "labelling.convert",
    "cost": "evaluation",
    "distill": "distillation.folder",
    "evaluate": "evaluation",
    "evaluate_all": "evaluation",
    "label": "labelling.folder",
    "load": "zoo",
    "open_dataset": "data.datasets",
    "push_to_hub": "publishing.push",
    "quantize": "quantization.folder",
    "review": "labelling.review",
    "save": "checkpoints",
    "slim": "slimming.folder",
}

__all__ = [
    "CheckpointError",
    "Contestant",
    "DistillConfig",
    "EverythingOptions",
    "ExportedSam",
    "InputError",
    "MaskGenerator",
    "Prediction",
    "Predictor",
    "QuantConfig",
    "Sam",
    "SamConfig",
    "SamletError",
    "SlimConfig",
    "TinyViTConfig",
    "ViTConfig",
    "__version__",
    "compare",
    "convert_labels",
    "cost",
    "distill",
    "evaluate",
    "evaluate_all",
    "label",
    "load",
    "open_dataset",
    "push_to_hub",
    "quantize",
    "register_criterion",
    "register_encoder",
    "register_loss",
    "register_protocol",
    "register_selection",
    "review",
    "save",
    "slim",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line answers `--help` without waiting for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'samlet' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"samlet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
