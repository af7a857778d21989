"""How numbers are computed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samlet.errors import InputError
from samlet.precisions import Arithmetic

if TYPE_CHECKING:
    import torch

PRECISIONS: dict[Arithmetic, str] = {
    "auto": "bf16 where the processor multiplies bfloat16, fp32 elsewhere",
    "fp32": "single precision",
    "bf16": "matrix products in bfloat16 (autocast), weights and losses in single precision",
}
"""How numbers are computed with."""


def chosen_precision(name: Arithmetic, device: torch.device) -> Arithmetic:
    """What `auto` means on a device; the others mean themselves.

    Raises:
        InputError: bfloat16 was asked for on a processor that would emulate it, several times as slowly.
    """
    from samlet.models.processors import multiplies_bf16  # only now: `--help` does not wait for torch

    if name == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    if name == "bf16" and device.type == "cpu" and not multiplies_bf16(device):
        raise InputError(
            "precision is bf16, and this processor has no instructions for bfloat16: it would be emulated, several "
            "times as slowly as fp32; use fp32, or auto"
        )
    return name
