"""How long an encoder of other widths takes on a machine: a table of measured segments, and a model fitted to it.

Every segment of the encoder is timed at a few widths. Its seconds are then a sum, with weights that are not negative,
of its multiply-accumulates (dense and depthwise apart), the values that it moves, those that attention multiplies, and
a constant. The table is a file, so that a model can be slimmed on one machine for another.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.writing import new_file
from samlet.models import Embedding, ImageEncoder, build_encoder
from samlet.slimming.selection import nearest_width
from samlet.slimming.surgery import config_with
from samlet.slimming.widths import WidthCost, Widths

FORMAT = "samlet-latency/1"
_SHARES = (1.0, 0.75, 0.5, 0.25)
_ALONE = 0.4
_REPEATS, _SLOW_S = 3, 4.0
_LARGEST_FILE = 16 * 2**20


@dataclass(frozen=True)
class Timed:
    """One encoder that was timed.

    Attributes:
        widths: channels that stay, by group.
        seconds: of each segment, in their order.
    """

    widths: Widths
    seconds: list[float]


@dataclass(frozen=True)
class LatencyTable:
    """Segments of an encoder at several widths, timed on one machine.

    Attributes:
        encoder: the encoder's config, as `dataclasses.asdict` gives it.
        image_size: side of the encoder's input, pixels.
        threads: of the CPU; 0 on other devices.
        machine: in words.
        timed: what was measured; the first is the whole encoder.
    """

    encoder: dict[str, Any]
    image_size: int
    threads: int
    machine: str
    timed: list[Timed]

    @property
    def whole(self) -> float:
        """Seconds of the uncut encoder."""
        return sum(self.timed[0].seconds)

    def write(self, path: Path) -> None:
        """Write the table as JSON."""
        content = {"format": FORMAT, **asdict(self)}
        with new_file(path) as temporary:
            temporary.write_text(dumps(content, indent=1) + "\n", encoding="utf-8")


def read_table(path: Path, encoder: ImageEncoder) -> LatencyTable:
    """A table of `samlet cost --table`, for this encoder.

    Raises:
        InputError: no such table, or one of another encoder.
    """
    remedy = "make one with `samlet cost M --table FILE` on the machine that the model is for"
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        content = read_json(path, _LARGEST_FILE)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        timed = [
            Timed({str(k): int(v) for k, v in row["widths"].items()}, [float(s) for s in row["seconds"]])
            for row in content["timed"]
        ]
        table = LatencyTable(
            content["encoder"], int(content["image_size"]), int(content["threads"]), str(content["machine"]), timed
        )
        segments = len(encoder.segments())
        if not timed or any(len(row.seconds) != segments for row in timed):
            raise ValueError(f"expected {segments} segments in every row")
        if not all(math.isfinite(s) and s >= 0 for row in timed for s in row.seconds):
            raise ValueError("seconds that are no times")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no latency table ({error}); {remedy}") from error
    if table.encoder != _described(encoder):
        raise InputError(f"{path} is a latency table of another encoder; {remedy}")
    return table


def measure_table(encoder: ImageEncoder, image_size: int, progress: Callable[[], object] | None = None) -> LatencyTable:
    """Time every segment of an encoder at several widths on this machine.

    Args:
        encoder: the encoder, on the device to measure.
        image_size: side of its input, pixels.
        progress: called after each of `len(designs(encoder))` encoders.
    """
    parameter = next(encoder.parameters())
    timed = []
    for widths in designs(encoder):
        shape = build_encoder(config_with(encoder, widths)).requires_grad_(False).to(parameter.device, parameter.dtype)
        timed.append(Timed(widths, _times(shape, image_size)))
        if progress is not None:
            progress()
    threads = torch.get_num_threads() if parameter.device.type == "cpu" else 0
    machine = f"{platform.machine()} {parameter.device.type}, torch {torch.__version__}"
    return LatencyTable(_described(encoder), image_size, threads, machine, timed)


def designs(encoder: ImageEncoder) -> list[Widths]:
    """Widths to time: all at a few shares, then each family alone, and every second stream alone."""
    groups = encoder.channel_groups()
    whole: dict[str, float] = {g.name: 1.0 for g in groups}
    shares = [{**whole, **{g.name: share for g in groups if g.kind != "head"}} for share in _SHARES]
    families = list(dict.fromkeys(g.family for g in groups if g.family != "embedding"))
    for chosen in [
        *([g for g in groups if g.family == family and g.kind != "head"] for family in families),
        [g for g in groups if g.kind == "head"],
        [g for g in groups if g.kind == "embedding" and not g.stage % 2],
        [g for g in groups if g.kind == "embedding" and g.stage % 2],
    ]:
        if chosen:
            shares.append({**whole, **{g.name: _ALONE for g in chosen}})
    found = []
    for share in shares:
        found.append({g.name: nearest_width(g.size * share[g.name], g) for g in groups if share[g.name] < 1})
    return found


@torch.inference_mode()
def _times(encoder: ImageEncoder, image_size: int) -> list[float]:
    """Least seconds of each segment."""
    parameter = next(encoder.parameters())
    state: Embedding = torch.rand(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    found = []
    for segment in encoder.segments():
        seconds, repeats = math.inf, _REPEATS + 1  # one more to warm up
        while repeats:
            start = time.perf_counter()
            after = segment.run(state)
            if parameter.device.type == "cuda":
                torch.cuda.synchronize(parameter.device)
            took = time.perf_counter() - start
            seconds = min(seconds, took)
            repeats = min(repeats - 1, 1) if took > _SLOW_S else repeats - 1
        found.append(seconds)
        state = after
    return found


class LatencyModel:
    """Seconds of an encoder at any widths, fitted to a table.

    Args:
        table: measured.
        encoder: that it is of.
    """

    def __init__(self, table: LatencyTable, encoder: ImageEncoder) -> None:
        self._cost = WidthCost(encoder, table.image_size)
        self._layers = [_layers(encoder, segment.modules) for segment in encoder.segments()]
        self._weights = []
        for number, layers in enumerate(self._layers):
            rows = np.array([self._features(layers, timed.widths) for timed in table.timed])
            seconds = np.array([max(timed.seconds[number], 1e-9) for timed in table.timed])
            scale = np.maximum(rows.max(axis=0), 1e-12)
            weights, _ = nnls(rows / scale / seconds[:, None], np.ones(len(seconds)))
            self._weights.append(weights / scale)

    def __call__(self, widths: Mapping[str, int]) -> float:
        """Seconds of one image."""
        parts = (self._features(layers, widths) @ w for layers, w in zip(self._layers, self._weights, strict=True))
        return float(sum(parts))

    def _features(self, layers: Iterable[tuple[str, bool]], widths: Mapping[str, int]) -> np.ndarray:
        found = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
        for name, depthwise in layers:
            shape, positions = self._cost.shape(f"{name}.weight", widths), self._cost.positions[name]
            found[1 if depthwise else 0] += positions * math.prod(shape)
            found[2] += positions * shape[0]
            if name.endswith(".qkv"):
                found[4] += positions * shape[0]  # the products of attention grow with it
        return found


def _layers(encoder: ImageEncoder, modules: Sequence[str]) -> list[tuple[str, bool]]:
    """Names of the layers of a segment, and whether each is depthwise."""
    found = []
    for prefix in modules:
        for name, layer in encoder.get_submodule(prefix).named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                found.append((f"{prefix}.{name}".rstrip("."), isinstance(layer, nn.Conv2d) and layer.groups > 1))
    return found


def _described(encoder: ImageEncoder) -> dict[str, Any]:
    return dict(json.loads(dumps({"kind": type(encoder.config).__name__, **asdict(encoder.config)})))
