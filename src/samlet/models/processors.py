"""What a processor can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run on a device's own units, and are not emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
