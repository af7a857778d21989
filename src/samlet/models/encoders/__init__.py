"""Image encoders: a folder each, with everything that the rest of samlet asks of one.

A folder is found by its place here. Its `__init__.py` names one `EncoderKind`, called `ENCODER`: the config, the
module, and how weights are drawn for training from scratch. Nothing else in samlet has a list of encoders.
"""

from __future__ import annotations

import importlib
import pkgutil

import torch

from samlet.errors import InputError
from samlet.models.encoders.encoder import EncoderConfig, EncoderKind, ImageEncoder
from samlet.models.initialisation import Draw

__all__ = [
    "ENCODERS",
    "EncoderConfig",
    "EncoderKind",
    "ImageEncoder",
    "build_encoder",
    "initialise",
    "register_encoder",
]


def _found() -> dict[str, EncoderKind]:
    folders = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.ispkg)
    kinds: list[EncoderKind] = [importlib.import_module(f"{__name__}.{name}").ENCODER for name in folders]
    return {kind.config.kind: kind for kind in kinds}


ENCODERS: dict[str, EncoderKind] = _found()
"""Every kind of encoder by the name that configs give it."""


def register_encoder(kind: EncoderKind) -> EncoderKind:
    """Add an encoder from outside; CONTRIBUTING.md says what it must declare.

    Models with it are slimmed, saved and loaded like any other, wherever the module that registers it is imported.

    Raises:
        InputError: another encoder has that name.
    """
    there = ENCODERS.get(kind.config.kind)
    if there is not None and there.config is not kind.config:
        raise InputError(f"an encoder called {kind.config.kind!r} is there already; give another `kind`")
    ENCODERS[kind.config.kind] = kind
    return kind


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """An image encoder with untrained weights."""
    return ENCODERS[config.kind].module(config)


@torch.no_grad()
def initialise(encoder: ImageEncoder, seed: int = 0, deviation: float = 1.0) -> None:
    """Draw all weights of an encoder, in place, so that variance is kept through its depth.

    Args:
        encoder: newly built, on any device; its norms are as they were built, 1 and 0.
        seed: of the weights.
        deviation: that the values of its embedding shall have.
    """
    ENCODERS[encoder.config.kind].initialise(encoder, Draw(seed, deviation))
