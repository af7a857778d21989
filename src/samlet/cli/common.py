"""What commands share: machine settings, loading, printing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samlet.baselines.sam2_onnx import find_pair
from samlet.bounds import THREADS
from samlet.data.datasets import Dataset
from samlet.errors import InputError
from samlet.io.jsons import dumps
from samlet.models import PromptableModel, Sam
from samlet.runs.distributed import DistributedContext
from samlet.runtimes import is_exported, read_manifest
from samlet.zoo import load, load_weights

_LISTED = 200  # files of a table


def set_up(options: argparse.Namespace) -> torch.device:
    """Apply --threads and --device.

    Raises:
        InputError: a thread count below 1, or a device that this machine does not have.
    """
    seed = getattr(options, "seed", 0)
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed is {seed}; expected a whole number from 0 to {2**32 - 1}")
    if options.threads is not None:
        THREADS.check("--threads", options.threads)
        torch.set_num_threads(options.threads)
    try:
        device = torch.device(options.device)
        if device.type == "meta" or (device.type == "cpu" and device.index):
            raise RuntimeError("it computes nothing" if device.type == "meta" else "there is one CPU")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"--device {options.device} cannot be used here: {reason}; use cpu") from error
    return device


def load_on(model: str, device: torch.device) -> Sam:
    """Load a model with weights, to train or change it, onto a device; exported models are refused."""
    return load_weights(model).to(device)


def load_to_run(model: str, device: torch.device) -> PromptableModel:
    """Load a `Sam`, exported or not, onto a device."""
    return load(model).to(device)


def several_processes(options: argparse.Namespace) -> DistributedContext | None:
    """The processes of this run if torchrun has started several."""
    return DistributedContext(options.device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None


def file_bytes(path: Path) -> int:
    """Bytes of the weights of a file or a model folder, or of the graphs of an exported model or a SAM 2."""
    if is_exported(path):
        return sum(part.stat().st_size for part in read_manifest(path).paths)
    if pair := find_pair(path):
        return sum(part.stat().st_size for part in pair)
    return (path / "model.safetensors" if path.is_dir() else path).stat().st_size


def file_size(count: int | None, store: str | None) -> str:
    """A file's size and what its weights are stored as."""
    if count is None:
        return "–"
    return f"{count / 1e6:.1f} MB" + (f" as {store}" if store else "")


def show(options: argparse.Namespace, content: dict[str, Any], text: str) -> None:
    """Print one JSON object with --json, the text without."""
    print(dumps(content, ensure_ascii=False) if options.json else text)


def note(text: str) -> None:
    """A remark for people, on stderr."""
    print(text, file=sys.stderr)


def tell_left_out(dataset: Dataset) -> None:
    """Say which files were passed over, which photographs have no annotations, and which annotations no photograph."""
    if dataset.survey is not None:
        dataset.survey.tell(dataset.path)
    if dataset.without_masks:
        note(f"samlet: {dataset.without_masks} photographs without annotations are left out")
    if dataset.without_image:
        note(f"samlet: {dataset.without_image} annotation files without a photograph are left out")


def file_table(used: int, failed: Mapping[str, str], passed_over: Mapping[str, str]) -> str:
    """What became of the files of a folder: how many were used, and every other one with the reason; '' if all were."""
    if not failed and not passed_over:
        return ""
    rows: list[tuple[str, ...]] = [("FILES", "WHAT", "WHY"), (str(used), "used", "")]
    others = [("failed", *one) for one in failed.items()] + [("passed over", *one) for one in passed_over.items()]
    rows += [(name, what, " ".join(why.split())) for what, name, why in others[:_LISTED]]
    if len(others) > _LISTED:
        rows.append((f"{len(others) - _LISTED} more", "", "--json names all"))
    return columns(rows)


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
