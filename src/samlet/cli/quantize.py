"""`samlet quantize`."""

from __future__ import annotations

import argparse

from samlet.cli.common import note, set_up, show
from samlet.cli.options import config_from
from samlet.quantization import report
from samlet.quantization.config import QuantConfig
from samlet.quantization.folder import WRITTEN, quantize_into


def run(options: argparse.Namespace) -> None:
    """Quantize one model into a new folder, or continue where an earlier session ended."""
    config, device = config_from(options, QuantConfig), set_up(options)
    made = quantize_into(options.out, options.model, options.images, config, device=device, overwrite=options.overwrite)
    for layer in made.layers:
        if layer.out_of_line:
            note(f"samlet: out of line: {layer.name}, {layer.sqnr:.1f} dB; --keep-float {layer.name} leaves it float")
    show(options, report.to_json(made), f"{report.table(made)}\n\n{options.out}: {WRITTEN}")
