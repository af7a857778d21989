"""What the CPU can do, and what that means for an export."""

from __future__ import annotations

from pathlib import Path

from samlet.errors import InputError
from samlet.export.config import ExportConfig
from samlet.runtimes.openvino_runtime import has_bf16

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


def check_machine(config: ExportConfig) -> None:
    """Raise InputError for a precision that this CPU would only pretend to compute in."""
    if config.precision == "bfloat16" and config.for_device == "this" and not has_bf16():
        raise InputError(
            "precision is bfloat16, and OpenVINO has none on this CPU: it would compute in float32 and show nothing of "
            "bfloat16; export in float32, or for another machine (--for-device other)"
        )


def warnings(config: ExportConfig) -> list[str]:
    """What is better known before the work than after it."""
    if config.precision != "int8" or config.for_device == "other" or has_vnni() is not False:
        return []
    return [
        "this CPU has no VNNI instructions, so int8 may be no faster here than float32, and is then refused in the "
        "end; if the export is for another machine, say --for-device other"
    ]


def remarks(config: ExportConfig) -> list[str]:
    """What the figures of an int8 export say only with its machine in mind."""
    if config.precision != "int8":
        return []
    if config.for_device == "other":
        return ["nothing was timed: the export is for another machine (--for-device other)"]
    if has_vnni() is False:
        return [
            "this CPU has no VNNI instructions: int8 was timed without them, and runs faster where they are "
            "(x86 since 2019, ARM with dot products)"
        ]
    return []
