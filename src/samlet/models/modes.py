"""How models compute where the same answer can be had in several ways: asked for by a context, not by grad mode.

In inference encoders compute wide layers in strips, see `chunking`. Whoever watches modules, counts their work or
traces them wants layers whole; whoever writes a graph for a runtime wants operations that the runtime fuses.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch


class _Modes(threading.local):
    whole = False
    graph = False


_modes = _Modes()


@contextlib.contextmanager
def whole_layers(wanted: bool = True) -> Iterator[None]:
    """While it lasts, every layer is computed whole, each module called once."""
    before, _modes.whole = _modes.whole, wanted or _modes.whole
    try:
        yield
    finally:
        _modes.whole = before


@contextlib.contextmanager
def graph_operations() -> Iterator[None]:
    """While it lasts, layers are computed whole, in operations that ONNX has and its runtimes fuse."""
    before, _modes.graph = _modes.graph, True
    try:
        with whole_layers():
            yield
    finally:
        _modes.graph = before


def computes_whole() -> bool:
    """Whether layers are computed whole: asked for, or because gradients are recorded."""
    return _modes.whole or torch.is_grad_enabled()


def computes_gradients(value: torch.Tensor) -> bool:
    """Whether a gradient of a value will be asked for."""
    return torch.is_grad_enabled() and value.requires_grad


def computes_for_graph() -> bool:
    """Whether operations are wanted that ONNX has."""
    return _modes.graph
