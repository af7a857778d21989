"""`samlet cost`."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial

from samlet.cli.common import columns, file_bytes, giga, load_to_run, mega, set_up, show
from samlet.evaluation.costs import PartCost, cost, peak_memory
from samlet.models import PromptableModel, Sam
from samlet.zoo import ENTRIES, load_path, locate


def run(options: argparse.Namespace) -> None:
    """Count and measure one model."""
    device = set_up(options)
    entry = ENTRIES.get(options.model)
    config = None if entry is None else entry.sam_config()
    if options.no_measure and config is not None:
        sam: PromptableModel = Sam(config).eval()
        path = None
    else:
        path = locate(options.model)
        sam = load_to_run(options.model, device)
    found = cost(sam, options.image_size, measure=not options.no_measure)
    content = dataclasses.asdict(found)
    content["file_bytes"] = None if path is None else file_bytes(path)
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
        text += f"\nfile {content['file_bytes'] / 1e6:.1f} MB"
    if memory is not None:
        text += f", peak memory {memory / 1e6:.0f} MB"
    show(options, content, text)
