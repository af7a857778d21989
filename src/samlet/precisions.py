"""In what models compute and are stored: the names that settings and files use."""

from __future__ import annotations

from typing import Literal

Arithmetic = Literal["auto", "fp32", "bf16"]
"""In what something is computed; `auto` is bf16 where the processor multiplies it, else fp32."""

Precision = Literal["float32", "float16", "bfloat16", "int8"]
"""What the graphs of an export compute in."""
