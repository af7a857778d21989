"""`samlet save`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from samlet.checkpoints import save
from samlet.checkpoints.storage import storage_of
from samlet.cli.common import file_bytes, file_size, show
from samlet.io.writing import MODEL_FILES, check_output
from samlet.models import Sam
from samlet.zoo import load_weights, locate


def run(options: argparse.Namespace) -> None:
    """Write a copy of a model whose weights are stored in fewer bytes."""
    out = check_output(options.out, MODEL_FILES, options.overwrite)
    source = locate(options.model)
    sam = load_weights(options.model)
    before, stored = file_bytes(source), storage_of(source)
    told = {**(sam.provenance or {}), "stored": {"from": Path(options.model).name, "as": options.store}}
    save(sam, out, provenance=told, overwrite=options.overwrite, store=options.store)
    moved = _moved(sam, load_weights(out))
    content = {
        "file_bytes": file_bytes(out),
        "store": options.store,
        "source": {"file_bytes": before, "store": stored},
        "weights_error": moved,
    }
    text = (
        f"{file_size(content['file_bytes'], options.store)} from {file_size(before, stored)}; "
        + ("weights as they were" if not moved else f"weights moved by {moved:.2%} (root mean square)")
        + f"\n{options.out}: config.json, model.safetensors, provenance.json"
    )
    show(options, content, text)


@torch.no_grad()
def _moved(before: Sam, after: Sam) -> float:
    """Root mean square of the change of all weights, as a share of that of the weights."""
    change = total = 0.0
    theirs = dict(after.named_parameters())
    for name, value in before.named_parameters():
        change += float((theirs[name].double() - value.double()).square().sum())
        total += float(value.double().square().sum())
    return float(torch.tensor(change / max(total, 1e-30)).sqrt())
