"""What the CPU can do."""

from __future__ import annotations

from pathlib import Path

_CPU = Path("/proc/cpuinfo")
_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


def has_vnni(path: Path = _CPU) -> bool | None:
    """Whether the CPU multiplies int8 in one instruction (VNNI on x86, dot products on ARM); None if unknown."""
    try:
        text = path.read_text()
    except OSError:
        return None
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    return any(name in lines[0].split() for name in _INT8) if lines else None
