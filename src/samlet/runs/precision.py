"""How numbers are computed with."""

from __future__ import annotations

from typing import Literal

PrecisionName = Literal["fp32", "bf16"]
PRECISIONS: dict[PrecisionName, str] = {
    "fp32": "single precision",
    "bf16": "matrix products in bfloat16 (autocast), weights and losses in single precision",
}
"""How numbers are computed with."""
