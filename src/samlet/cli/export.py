"""`samlet export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from samlet.cli.common import load_on, note, set_up, show
from samlet.cli.options import given_settings
from samlet.export import report
from samlet.export.config import ExportConfig
from samlet.export.pipeline import export_model
from samlet.quantization.config import QuantConfig


def run(options: argparse.Namespace) -> None:
    """Export one model into a new folder, if the gate lets it."""
    device = set_up(options)
    sam = load_on(options.model, device)
    chosen = [name for name in ("int8", "fp16", "bf16") if getattr(options, name)]
    precision = {"int8": "int8", "fp16": "float16", "bf16": "bfloat16"}[chosen[0]] if chosen else None
    quantization = None
    if precision == "int8":
        quantization = QuantConfig(
            scheme="integer",
            metric=options.metric,
            calibration_images=options.calibration_images,
            image_size=options.image_size,
            keep_float=tuple(options.keep_float),
            seed=options.seed,
        )
    given: dict[str, Any] = {} if precision is None else {"precision": precision}
    made = export_model(
        sam,
        options.out,
        options.to,
        images=options.images,
        overwrite=options.overwrite,
        quantization=quantization,
        provenance={"name": Path(options.model).name, "weights_sha256": sam.fingerprint()},
        progress=True,
        **given_settings(options, ExportConfig, leave_out=("to",)),
        **given,
    )
    for remark in made.notes:
        note(f"samlet: {remark}")
    written = ", ".join(f"{name} ({size / 1e6:.2f} MB)" for name, size in made.files.items())
    show(options, report.to_json(made), f"{report.text(made)}\n\n{made.folder}: {written}")
