"""`samlet models`."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from samlet.cli.common import columns, giga, mega, show
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.models import Sam
from samlet.zoo import ENTRIES, is_available


def run(options: argparse.Namespace) -> None:
    """Print the zoo."""
    models: list[dict[str, Any]] = []
    rows = [("NAME", "ENCODER", "PARAMETERS", "ENCODER MACS", "TOTAL", "LICENCE", "ON DISK", "SOURCE")]
    for entry in ENTRIES.values():
        with torch.device("meta"):
            sam = Sam(entry.sam_config())
        macs, parameters = count_encoder_macs(sam), count_parameters(sam)
        available = is_available(entry)
        models.append(
            {
                "name": entry.name,
                "encoder": entry.encoder,
                "parameters": parameters,
                "encoder_macs_modules": macs.macs_modules,
                "encoder_macs_total": macs.macs_total,
                "licence": entry.licence,
                "source": entry.source,
                "available": available,
            }
        )
        rows.append(
            (
                entry.name,
                entry.encoder,
                mega(parameters),
                giga(macs.macs_modules),
                giga(macs.macs_total),
                entry.licence,
                "yes" if available else "no",
                entry.source,
            )
        )
    show(options, {"models": models}, columns(rows))
