"""Quantizing from photographs to a folder: the model, its figures, its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch

from samlet.checkpoints import native
from samlet.data.folders import data_name, find_images
from samlet.models import PromptableModel, Sam
from samlet.quantization import report
from samlet.quantization.config import QuantConfig
from samlet.quantization.keywords import QuantKeywords
from samlet.quantization.pipeline import Quantized, run_quantization
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.settings import config_of
from samlet.zoo import model_or_name, named_weights

WRITTEN = "the quantized model, report.md, errors.png, comparison.png"


def quantize_into(
    out: Path,
    model: Sam | str | Path,
    images: str | Path | Sequence[Path],
    config: QuantConfig,
    *,
    device: torch.device | None = None,
    overwrite: bool = False,
) -> Quantized:
    """Quantize into a folder, or continue the unfinished run there.

    Args:
        out: a new folder, or that of an unfinished run.
        model: the float model, or its name or path.
        images: a folder of photographs, or their paths, of which some are drawn.
        config: settings.
        device: to compute on, where the model is named.
        overwrite: replace what an earlier run wrote; begin again where an unfinished run has other settings.

    Raises:
        InputError: a setting, model, folder or photographs that cannot work, or another process works in the folder.
    """
    folder = RunFolder.claim(out, overwrite)
    paths = find_images(images) if isinstance(images, str | Path) else list(images)
    sam, name = named_weights(model, device or torch.device("cpu"), "model")
    with folder.locked():
        made = run_quantization(sam, paths, config, folder, overwrite=overwrite)
        for reason in made.skipped.values():
            say(f"not calibrated on: {reason}")
        origin = report.provenance(made, name, data_name(images))
        native.write(made.sam, folder.out, origin, overwrite=True, run_folder=True)
        say("the search is over; measuring the agreement of masks, then drawing the report's pictures")
        made = report.measured(made, paths)
        origin = report.provenance(made, name, data_name(images))
        native.write_provenance(folder.out, origin)
        report.write(made, folder.out, data_name(images))
        folder.finish()
    made.sam.provenance = origin
    made.sam.result = report.result(made, data_name(images), paths, folder.out)
    return made


def quantize(
    sam: PromptableModel | str | Path,
    images: str | Path | Sequence[Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    **settings: Unpack[QuantKeywords],
) -> Sam:
    """Round a model's weights and activations to a few bits, by a search on a few photographs without labels.

    Post-training quantization as in TinySAM (section 3.3). The result computes in float what integers would: it tells
    what quantization costs. `samlet quantize` does the same.

    Args:
        sam: the float model, which is left as it is, or its name or path.
        images: a folder of photographs, or their paths.
        out: a new folder for the model, its figures and pictures, or that of a run that was stopped, which goes on;
            nothing is written if None.
        overwrite: replace what an earlier run wrote in `out`.
        settings: fields of `QuantConfig`: `weights` and `activations`, bits of one, 2 to 8, or 16 to leave them float,
            and others.

    Raises:
        InputError: a setting, model or photographs that cannot work.
    """
    config = config_of(QuantConfig, settings, "quantize")
    model = model_or_name(sam, "the model")
    if out is None:
        paths = find_images(images) if isinstance(images, str | Path) else list(images)
        made = run_quantization(named_weights(model, torch.device("cpu"), "")[0], paths, config, progress=False)
        made.sam.result = report.result(made, data_name(images), paths)
        return made.sam
    return quantize_into(Path(out), model, images, config, overwrite=overwrite).sam
