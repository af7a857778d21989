"""Whether a model's weights are floats, and finite: what slimming, distilling and quantizing begin from."""

from __future__ import annotations

import torch
from torch import nn

from samlet.errors import InputError
from samlet.models.quantized import is_quantized


def check_float_weights(model: nn.Module, name: str, cannot: str, first: str) -> None:
    """Refuse a model that is quantized already, or whose weights are not finite numbers.

    Args:
        model: to look at.
        name: of the model in the message, such as `the teacher`.
        cannot: what cannot be done with it, such as `it cannot be slimmed`.
        first: what to do instead of beginning from a quantized one, such as `slim first, then quantize`.

    Raises:
        InputError: it is such a model; a weight is named.
    """
    if is_quantized(model):
        raise InputError(f"{name} is quantized already; expected float weights: {first}")
    for parameter, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{name}'s weight {parameter} holds NaN or infinity; {cannot}")
