"""The model in integers: scales are searched, and layers that lose too much by them stay float."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samlet.data.images import find_images
from samlet.errors import InputError
from samlet.export.config import ExportConfig
from samlet.export.int8_layers import is_deployable
from samlet.export.targets import holding
from samlet.models import Sam
from samlet.models.quantized import is_quantized
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.runs.folder import RunFolder


def in_integers(
    sam: Sam,
    images: Path | None,
    config: ExportConfig,
    quantization: QuantConfig | None,
    progress: bool,
    search: RunFolder,
) -> tuple[Sam | None, list[Mapping[str, Any]]]:
    """The model with quantized layers.

    Args:
        sam: a float model, or one that is quantized already.
        images: a folder of photographs to calibrate on.
        config: of the export.
        quantization: settings of the search; the scheme must be `integer`.
        progress: show progress on stderr.
        search: where what was found is kept, so that a stopped search goes on.

    Returns:
        The model, None where the export needs none; and what became of each layer.

    Raises:
        InputError: a quantized model for a target without integers, or no photographs.
    """
    if is_quantized(sam):
        if config.precision != "int8" or config.precision not in config.target.precisions:
            raise InputError(
                f"the model is quantized, and {config.to} in {config.precision} would be no smaller; export with "
                f"--int8 to one of {', '.join(holding('int8'))}, or export the float model"
            )
        if not is_deployable(sam):
            raise InputError(
                "the model's weights have no known scales; quantize with `samlet quantize --scheme integer`"
            )
        return sam, []
    if config.precision != "int8" or config.target.own_int8:
        return None, []
    if images is None:
        raise InputError("int8 is calibrated on photographs, and none are given; name a folder of some with --images")
    settings = quantization or QuantConfig(scheme="integer", image_size=config.image_size, seed=config.seed)
    if settings.scheme != "integer":
        raise InputError(f"scheme {settings.scheme} does not run in integers; expected integer")
    with search.locked():
        made = run_quantization(sam, find_images(images), settings, search, progress=progress, overwrite=True)
    layers: list[Mapping[str, Any]] = []
    for layer in made.layers:
        found = asdict(layer)
        if layer.out_of_line and layer.float_reason is None:
            parent, _, last = layer.name.rpartition(".")
            setattr(made.sam.get_submodule(parent), last, copy.deepcopy(sam.get_submodule(layer.name)))
            found |= {"weights": None, "inputs": None, "float_reason": f"{layer.sqnr:.1f} dB is out of line"}
        layers.append(found)
    return made.sam, layers
