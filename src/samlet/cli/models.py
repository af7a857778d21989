"""`samlet models`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from samlet.cli.common import columns, giga, mega, show
from samlet.evaluation.counts import counts
from samlet.zoo import ENTRIES, is_available


def run(options: argparse.Namespace) -> None:
    """Print the zoo."""
    models: list[dict[str, Any]] = []
    rows = [("NAME", "ENCODER", "PARAMETERS", "ENCODER MACS", "TOTAL", "LICENCE", "ON DISK", "SOURCE")]
    for entry in ENTRIES.values():
        config = entry.sam_config()
        parameters = modules = total = None
        if config is not None:
            parameters, modules, total = counts(config)
        elif entry.published:
            parameters = int(entry.published[0].parameters)
        available = is_available(entry)
        models.append(
            {
                "name": entry.name,
                "encoder": entry.encoder,
                "parameters": parameters,
                "encoder_macs_modules": modules,
                "encoder_macs_total": total,
                "published": [dataclasses.asdict(one) for one in entry.published],
                "licence": entry.licence,
                "commercial": entry.commercial,
                "source": entry.source,
                "available": available,
            }
        )
        rows.append(
            (
                entry.name,
                entry.encoder,
                "–" if parameters is None else mega(parameters),
                "–" if modules is None else giga(modules),
                "–" if total is None else giga(total),
                entry.licence + ("" if entry.commercial else ", non-commercial"),
                "yes" if available else "no",
                entry.source,
            )
        )
    show(options, {"models": models}, columns(rows))
