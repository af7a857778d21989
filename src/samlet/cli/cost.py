"""`samlet cost`."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import torch

from samlet.checkpoints.storage import storage_of, weight_bytes
from samlet.cli.common import columns, file_bytes, file_size, giga, load_to_run, mega, note, set_up, show
from samlet.errors import InputError, SamletError
from samlet.evaluation.costs import PartCost, cost, peak_memory
from samlet.io.paths import expanded
from samlet.io.progress import working
from samlet.models import PromptableModel, Sam, SamConfig
from samlet.models.quantized import is_quantized
from samlet.slimming.latencies import LatencyTable
from samlet.slimming.sizing import this_machine
from samlet.zoo import ENTRIES, load_path, locate


def run(options: argparse.Namespace) -> None:
    """Count and measure one model."""
    device = set_up(options)
    if options.table is not None and options.no_measure:
        raise InputError(f"--table {options.table} is measured and --no-measure was given; leave one of them out")
    entry = ENTRIES.get(options.model)
    config = None if entry is None else entry.sam_config()
    if options.no_measure and config is not None:
        sam: PromptableModel = Sam(config).eval()
        path = None
    else:
        path, sam = _found(options.model, config, device)
    table = None if options.table is None else _latency_table(sam, options)
    with working("measuring", shown=not options.no_measure):
        found = cost(sam, options.image_size, measure=not options.no_measure)
    content = dataclasses.asdict(found)
    content["file_bytes"] = None if path is None else file_bytes(path)
    content["file_storage"] = stored = None if path is None else storage_of(path)
    content["weights_bytes"] = sizes = weight_bytes(sam)
    memory = (
        None
        if options.no_measure or path is None
        else peak_memory(partial(load_path, path), found.image_size, options.threads)
    )
    content["peak_memory_bytes"] = memory

    def row(name: str, part: PartCost) -> tuple[str, ...]:
        seconds = "" if part.latency_s is None else f"{part.latency_s:.3f} s"
        return name, mega(part.parameters), giga(part.macs_modules), giga(part.macs_total), seconds

    rows = [
        (f"at {found.image_size} px", "PARAMETERS", "MACS (MODULES)", "MACS (TOTAL)", "LATENCY"),
        row("encoder", found.encoder),
        row("decoder, one prompt", found.decoder),
        ("whole, as in print", mega(found.parameters), giga(found.macs_modules), giga(found.macs_total), ""),
    ]
    text = columns(rows)
    if path is not None:
        text += f"\nfile {file_size(content['file_bytes'], stored)}"
    if sizes is not None:
        text += "\nweights " + ", ".join(f"{count / 1e6:.1f} MB as {store}" for store, count in sizes.items())
    trained = sam.config.trained_image_size
    if trained is not None:
        text += f"\ntrained at {trained} px; --image-size {trained} computes at that size"
    if memory is not None:
        text += f"\npeak memory {memory / 1e6:.0f} MB"
    if table is not None:
        content["table"] = str(options.table)
        text += f"\nlatency table {options.table}"
    show(options, content, text)


def _found(model: str, config: SamConfig | None, device: torch.device) -> tuple[Path | None, PromptableModel]:
    """The model and where it lies; where its weights cannot be fetched, one of its shapes, which is all that counts."""
    try:
        path = locate(model)
    except SamletError as error:
        if config is None:
            raise
        note(f"samlet: {error}; counted and timed by its shapes, with weights drawn at random")
        return None, Sam(config).eval().to(device)
    return path, load_to_run(model, device)


def _latency_table(sam: PromptableModel, options: argparse.Namespace) -> LatencyTable:
    """Time the encoder at several widths and write that down."""
    if not isinstance(sam, Sam) or is_quantized(sam):
        raise InputError(f"{options.model} cannot be slimmed, so it has no table; expected a model of float weights")
    out = expanded(options.table)
    if out.exists() or not out.parent.is_dir():
        what = "exists already" if out.exists() else "is in a folder that does not exist"
        raise InputError(f"{out} {what}; expected a new file in an existing folder")
    table = this_machine(sam.image_encoder.requires_grad_(False), sam.check_image_size(options.image_size))
    table.write(out)
    return table
