"""The same seed, the same weights, however busy the machine is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic as settings


@contextmanager
def reproducible() -> Iterator[None]:
    """Let torch use deterministic algorithms inside the block.

    Without it the gradient of a table that is read by index (TinyViT's attention biases) is summed by threads in
    whatever order they arrive, and its last bits change with the load of the machine.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling costs time and guards only against reading it.
    settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        settings.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
