"""What a model costs: parameters, multiply-accumulates by both conventions in print, latency, memory.

Two ways of counting are in use. *Modules* counts linear layers and convolutions only, as SlimSAM does; *total* also
counts the matrix products of attention and of the relative positions, as TinySAM does. Both papers' figures are of the
whole model with one prompt, and both count a transposed convolution at its output positions, stride² times what it
computes: only so are the figures of all four models met. `macs_modules` and `macs_total` follow print; `macs_computed`
says what is really multiplied.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from samlet.errors import SamletError
from samlet.inference.predictor import as_model
from samlet.models import PromptableModel, Sam, embedding_of
from samlet.models.modes import whole_layers

_REPEATS = 5
_BUDGET_S = 6.0


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Cost of one part of a model.

    Attributes:
        parameters: number of weights.
        macs_modules: multiply-accumulates of linear layers and convolutions, counted as in print.
        macs_total: those and the products of attention, counted as in print.
        macs_computed: `macs_total` with transposed convolutions at what they compute.
        latency_s: median seconds of a forward pass, None if not measured.
    """

    parameters: int
    macs_modules: int
    macs_total: int
    macs_computed: int
    latency_s: float | None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a model.

    Attributes:
        image_size: side of the encoder's input, pixels.
        parameters: number of weights.
        macs_modules: whole model with one prompt; compare with SlimSAM's figures.
        macs_total: whole model with one prompt; compare with TinySAM's figures.
        encoder: the image encoder, for one image.
        decoder: prompt encoder and mask decoder, for one point.
    """

    image_size: int
    parameters: int
    macs_modules: int
    macs_total: int
    encoder: PartCost
    decoder: PartCost


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Multiply-accumulates of a forward pass; the fields are those of `PartCost`."""

    macs_modules: int
    macs_total: int
    macs_computed: int


def count_macs(module: nn.Module, run: Callable[[], Any]) -> Macs:
    """Multiply-accumulates of what `run` does with `module`.

    `module` must be frozen: with grad mode on, which this function sees to, encoders then compute layers whole, not in
    overlapping strips, and attention in its plain form.
    """
    modules, surplus = 0, 0

    def add(layer: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal modules, surplus
        if isinstance(layer, nn.Linear):
            modules += out.numel() * layer.in_features
        elif isinstance(layer, nn.Conv2d):
            modules += out.numel() * prod(layer.weight.shape[1:])
        elif isinstance(layer, nn.ConvTranspose2d):
            at_outputs = out.numel() * layer.in_channels * prod(layer.kernel_size)
            modules += at_outputs
            surplus += at_outputs - at_outputs // prod(layer.stride)

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    handles = [layer.register_forward_hook(add) for layer in module.modules() if isinstance(layer, kinds)]
    try:
        with FlopCounterMode(display=False) as counter, whole_layers(), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    computed = counter.get_total_flops() // 2
    return Macs(macs_modules=modules, macs_total=computed + surplus, macs_computed=computed)


def cost(sam: PromptableModel | str | Path, image_size: int | None = None, measure: bool = True) -> Cost:
    """Count, and measure, what a model costs.

    Args:
        sam: the model.
        image_size: side of the encoder's input, pixels; the model's own if None.
        measure: time the encoder and the decoder on this machine, after a warm-up, as a median.

    Raises:
        InputError: an image size that the patch grid does not allow.
    """
    sam = as_model(sam)
    size = sam.check_image_size(image_size)
    shadow = _shadow(sam)
    encoder = count_macs(shadow, lambda: shadow.encode(torch.empty(1, 3, size, size, device="meta")))
    embedding = embedding_of([torch.zeros(1, *shape) for shape in sam.config.encoder.map_shapes(size, size)])
    point, label = torch.full((1, 1, 2), size / 2), torch.ones(1, 1, dtype=torch.long)
    decoder = count_macs(shadow, lambda: shadow.decode(embedding, point, label))
    encoder_s = decoder_s = None
    if measure:
        image = torch.zeros(1, 3, size, size, device=sam.device, dtype=sam.dtype)
        encoder_s = latency(lambda: sam.encode(image), sam.device)
        embedding, point = embedding.to(sam.device, sam.dtype), point.to(sam.device, sam.dtype)
        label = label.to(sam.device)
        decoder_s = latency(lambda: sam.decode(embedding, point, label), sam.device)
    counted = sam if isinstance(sam, Sam) else shadow
    in_encoder, parameters = count_parameters(counted.image_encoder), count_parameters(counted)
    return Cost(
        image_size=size,
        parameters=parameters,
        macs_modules=encoder.macs_modules + decoder.macs_modules,
        macs_total=encoder.macs_total + decoder.macs_total,
        encoder=PartCost(parameters=in_encoder, latency_s=encoder_s, **asdict(encoder)),
        decoder=PartCost(parameters=parameters - in_encoder, latency_s=decoder_s, **asdict(decoder)),
    )


def count_encoder_macs(sam: PromptableModel, image_size: int | None = None) -> Macs:
    """Multiply-accumulates of the encoder for one image; needs no weights and computes nothing."""
    size = sam.check_image_size(image_size)
    shadow = _shadow(sam)
    return count_macs(shadow, lambda: shadow.encode(torch.empty(1, 3, size, size, device="meta")))


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in module.parameters())


def _shadow(sam: PromptableModel) -> Sam:
    """A `Sam` of the same config to count with: an encoder without memory, and a decoder of any weights on the CPU."""
    with torch.device("meta"):
        shadow = Sam(sam.config)
    for part in (shadow.prompt_encoder, shadow.mask_decoder):  # which look at the values of their prompts
        part.to_empty(device="cpu")
    return shadow.requires_grad_(False)


@torch.inference_mode()
def latency(run: Callable[[], Any], device: torch.device) -> float:
    """Median seconds of `run` after a warm-up; fewer repeats where it is slow."""

    def timed() -> float:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    first = timed()
    repeats = max(1, min(_REPEATS, int(_BUDGET_S / max(first, 1e-9))))
    return statistics.median(timed() for _ in range(repeats))


def peak_memory(load: Callable[[], PromptableModel], image_size: int, threads: int | None = None) -> int:
    """Bytes that a fresh process needs at most to load a model, encode one image and decode one point, on the CPU.

    Args:
        load: loads the model; a function that can be pickled, such as `functools.partial(samlet.load, path)`.
        image_size: side of the encoder's input, pixels.
        threads: CPU threads; the default if None.

    Raises:
        SamletError: the process was stopped.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_peak_memory_here, load, image_size, threads).result()
    except BrokenProcessPool as error:
        raise SamletError(
            f"encoding one image of {image_size} px was stopped, probably for want of memory; try --image-size 512"
        ) from error


def _peak_memory_here(load: Callable[[], PromptableModel], image_size: int, threads: int | None) -> int:
    if threads:
        torch.set_num_threads(threads)
    sam = load()
    with torch.inference_mode():
        embedding = sam.encode(torch.zeros(1, 3, image_size, image_size))
        sam.decode(embedding, torch.full((1, 1, 2), image_size / 2), torch.ones(1, 1, dtype=torch.long))
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: its ru_maxrss remembers the process that this one was started from
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource  # which Windows does not have

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
