"""In what arithmetic the decoder's image features are held."""

from __future__ import annotations

import torch

from samlet.inference.everything.options import EverythingOptions
from samlet.models.processors import multiplies_bf16


def feature_type(options: EverythingOptions, device: torch.device, weights: torch.dtype) -> torch.dtype:
    """Type of the decoder's image features, for weights of some type on some device."""
    if options.exact or options.precision == "fp32":
        return weights
    if options.precision == "bf16" or multiplies_bf16(device):
        return torch.bfloat16
    return weights
