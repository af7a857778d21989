"""What commands share: machine settings, loading, printing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from samlet.errors import InputError
from samlet.models import Sam
from samlet.zoo import load


def set_up(options: argparse.Namespace) -> torch.device:
    """Apply --threads and --device.

    Raises:
        InputError: a thread count below 1, or a device that this machine does not have.
    """
    seed = getattr(options, "seed", 0)
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed is {seed}; expected a whole number from 0 to {2**32 - 1}")
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; expected at least 1")
        torch.set_num_threads(options.threads)
    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {options.device} cannot be used here: {reason}; use cpu") from error
    return device


def load_on(model: str, device: torch.device) -> Sam:
    """Load a model onto a device."""
    return load(model).to(device)


def show(options: argparse.Namespace, content: dict[str, Any], text: str) -> None:
    """Print one JSON object with --json, the text without."""
    print(json.dumps(content, ensure_ascii=False) if options.json else text)


def note(text: str) -> None:
    """A remark for people, on stderr."""
    print(text, file=sys.stderr)


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def mask_rows(masks: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A table of masks, its head first."""
    rows: list[tuple[str, ...]] = [("MASK", "AREA", "BOX (x, y, w, h)", "PREDICTED IOU", "STABILITY")]
    for i, mask in enumerate(masks):
        box = ", ".join(str(v) for v in mask["bbox"])
        rows.append((str(i), str(mask["area"]), box, f"{mask['predicted_iou']:.3f}", f"{mask['stability_score']:.3f}"))
    return rows


def giga(count: int) -> str:
    """Multiply-accumulates in G."""
    return f"{count / 1e9:.1f} G"


def mega(count: int) -> str:
    """Parameters in M."""
    return f"{count / 1e6:.2f} M"
