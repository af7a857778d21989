"""Quantizing a model after its training: calibration, search, mixed precision; resumable."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.errors import InputError
from samlet.evaluation.miou import Evaluation
from samlet.io.progress import followed, progress_bar
from samlet.io.writing import new_file
from samlet.models import Sam
from samlet.models.float_weights import check_float_weights
from samlet.quantization.assembly import LayerReport, assemble, describe
from samlet.quantization.calibration import Calibrator
from samlet.quantization.config import QuantConfig
from samlet.quantization.product_search import search_attention, search_product
from samlet.quantization.samples import Samples
from samlet.quantization.search import Found, search_layer
from samlet.quantization.sensitivity import choose_widths
from samlet.quantization.sites import Site, find_sites
from samlet.runs.folder import RunFolder
from samlet.runs.reproducible import reproducible


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What a run made.

    Attributes:
        origin: the float model.
        sam: the quantized model.
        layers: what became of each layer, in the order of the model.
        config: the settings.
        image_size: side of the encoder's input while calibrating, pixels.
        photographs: that were calibrated on.
        skipped: photographs that could not be read, with the reason.
        seconds: of this session.
        agreement: of the quantized model with the float one, on photographs; None where it was not measured.
        calibrated_on: whether those photographs are the ones that were calibrated on, for want of others.
    """

    origin: Sam
    sam: Sam
    layers: list[LayerReport]
    config: QuantConfig
    image_size: int
    photographs: list[Path]
    skipped: dict[Path, str]
    seconds: float
    agreement: Evaluation | None = None
    calibrated_on: bool = False

    @property
    def average_bits(self) -> float | None:
        """Bits of the inputs of quantized layers, weighted by multiply-accumulates; None where all stay float."""
        shares = [(layer.inputs, layer.macs) for layer in self.layers if layer.inputs and layer.macs]
        return sum(bits * macs for bits, macs in shares) / sum(macs for _, macs in shares) if shares else None


@reproducible()
def run_quantization(
    sam: Sam,
    photographs: Sequence[Path],
    config: QuantConfig,
    workspace: RunFolder | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
    calibration: Path | None = None,
    scales: Path | None = None,
) -> Quantized:
    """Quantize a model; see `quantize`. Returns everything a report needs.

    Args:
        sam: the float model; it is left as it is.
        photographs: to choose the calibration's from, by seed.
        config: settings.
        workspace: where samples and scales go; an unfinished run there is continued.
        overwrite: begin again where an unfinished run in the workspace has other settings.
        progress: show it on stderr.
        calibration: a folder for what does not depend on bits, for several runs of one model on the same photographs;
            those that search by curvature must come first. In the workspace if None.
        scales: a folder for the scales of every layer by bits, for several runs that differ in bits alone, or mixed.
            In the workspace if None.

    Raises:
        InputError: a setting, model or photographs that cannot work.
    """
    start = time.perf_counter()
    check_float_weights(sam, "the model", "it cannot be quantized", "quantize the model it was made from")
    size = sam.check_image_size(config.image_size)
    sites = find_sites(sam, config)
    chosen, skipped = _choose(photographs, config)
    if workspace is not None:
        workspace.begin(_recipe(sam, chosen, config, size), overwrite)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if workspace is None else workspace.folder / "checkpoints"
        calls = [site for site in sites if site.float_reason is None]
        samples = _calibrate(sam, calls, chosen, config, size, calibration or folder / "samples", progress)
        found = _search(sam, calls, samples, config, scales or folder / "scales", progress)
    final = _final(found, config)
    return Quantized(
        origin=sam,
        sam=assemble(sam, final, config),
        layers=describe(sites, final),
        config=config,
        image_size=size,
        photographs=chosen,
        skipped=skipped,
        seconds=time.perf_counter() - start,
    )


def _choose(photographs: Sequence[Path], config: QuantConfig) -> tuple[list[Path], dict[Path, str]]:
    """Photographs drawn by seed, and those that were drawn but cannot be read."""
    chosen: list[Path] = []
    skipped: dict[Path, str] = {}
    for number in np.random.default_rng(config.seed).permutation(len(photographs)):
        path = photographs[int(number)]
        try:
            read_image(path)
            chosen.append(path)
        except InputError as error:
            skipped[path] = str(error)
        if len(chosen) == config.calibration_images:
            return chosen, skipped
    unreadable = f"; {len(skipped)} cannot be read, the first: {next(iter(skipped.values()))}" if skipped else ""
    raise InputError(
        f"{len(chosen)} photographs are there to calibrate on{unreadable}; expected {config.calibration_images}: give "
        "more, or ask for fewer (calibration_images=, --calibration-images)"
    )


def _recipe(sam: Sam, chosen: Sequence[Path], config: QuantConfig, size: int) -> dict[str, Any]:
    """Everything that the result depends on; photographs by name and length."""
    listing = hashlib.sha256("".join(f"{p.name}:{p.stat().st_size}\n" for p in chosen).encode())
    return {
        **config.to_dict(),
        "image_size": size,
        "model": sam.fingerprint(),
        "photographs": listing.hexdigest(),
    }


def _calibrate(
    sam: Sam,
    sites: Sequence[Site],
    chosen: Sequence[Path],
    config: QuantConfig,
    size: int,
    folder: Path,
    progress: bool,
) -> Samples:
    """Samples of every photograph, those that are there already as they are."""
    paths = [folder / f"{number:04}.safetensors" for number in range(len(chosen))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    calibrator = Calibrator(sam, sites, config) if missing else None
    for number in followed(missing, "calibration", "image", shown=progress):
        assert calibrator is not None
        pixels, frame = preprocess(read_image(chosen[number]), size, *sam.preprocessing)
        Samples.write(paths[number], calibrator.record(pixels, frame, number))
    return Samples(paths, weighted=config.metric == "hessian")


def _search(
    sam: Sam, sites: Sequence[Site], samples: Samples, config: QuantConfig, folder: Path, progress: bool
) -> dict[str, dict[tuple[int, int], Found]]:
    """Of every layer that was reached the result by bits; results that are there already are read."""
    reached = [site for site in sites if site.name in samples]
    bar = progress_bar("search of scales", "layer", len(reached) * len(config.widths), shown=progress)
    found: dict[str, dict[tuple[int, int], Found]] = {}
    with bar:
        for site in reached:
            found[site.name] = {}
            for widths in config.widths:
                path = folder / f"{site.name}-{widths[0]}-{widths[1]}.safetensors"
                known = _read(path)
                if known is None:
                    known = _search_site(sam, site, samples, widths, config)
                    _write(path, known)
                found[site.name][widths] = known
                bar.update()
    return found


def _search_site(sam: Sam, site: Site, samples: Samples, widths: tuple[int, int], config: QuantConfig) -> Found:
    if site.kind == "attention":
        return search_attention(*samples.attention(site.name), widths[1], config)
    if site.kind == "product":
        return search_product(*samples.product(site.name), widths[1], config)
    layer = sam.get_submodule(site.name)
    assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    return search_layer(layer, samples.matrix(site.name, config.seed), widths, config)


def _write(path: Path, found: Found) -> None:
    numbers = {name: getattr(found, name) for name in ("error", "sqnr", "loss", "macs")}
    with new_file(path) as temporary:
        metadata = {"entry": json.dumps(found.entry), "numbers": json.dumps(numbers)}
        save_file({name: value.contiguous() for name, value in found.tensors.items()}, temporary, metadata=metadata)


def _read(path: Path) -> Found | None:
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return Found(json.loads(metadata["entry"]), tensors, **json.loads(metadata["numbers"]))


def _final(found: Mapping[str, Mapping[tuple[int, int], Found]], config: QuantConfig) -> dict[str, Found]:
    if config.mixed is None:
        return {name: by_width[config.widths[0]] for name, by_width in found.items()}
    by_bits = {name: {bits: one for (bits, _), one in by_width.items()} for name, by_width in found.items()}
    widths = choose_widths(by_bits, config.mixed)
    return {name: by_bits[name][bits] for name, bits in widths.items()}
