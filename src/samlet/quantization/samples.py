"""Samples of what layers compute, kept in one file a photograph and read back a layer at a time.

Shape legend: N samples of all photographs, G groups, K factors, O outputs, P heads, R queries, L keys, D, E channels
of a head, B prompts, M masks, C columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from samlet.io.writing import new_file, write_tensors

_MOST_KEYS = 1 << 22  # values of keys that are computed with at once


@dataclass(frozen=True)
class Seen:
    """What is known of a site from the whole photographs, not only from the sample.

    Attributes:
        ranges: smallest and largest value of each factor.
        share: positions in a photograph for each one sampled, over all photographs.
        macs: multiply-accumulates of a photograph.
    """

    ranges: tuple[tuple[float, float], ...]
    share: float
    macs: float


@dataclass(frozen=True)
class MatrixSample:
    """Of a layer with a weight, in an order drawn at random.

    Attributes:
        x: (G, N, K) inputs.
        gradient: (G, N, O) of `calibration.fisher_probe`; None where errors have no weights.
        seen: of the whole photographs.
    """

    x: Tensor
    gradient: Tensor | None
    seen: Seen


@dataclass(frozen=True)
class AttentionSample:
    """Of an attention: some heads with the same numbers of queries and keys.

    Attributes:
        queries: (P, R, D).
        keys: (P, L, D).
        values: (P, L, E).
        bias: (P, R, L) or None.
        scale: of the products of queries and keys.
        gradient: (P, R, E) of `calibration.fisher_probe`; None where errors have no weights.
        gradient_sum: (P, E) its sum over all N queries, times sqrt(R / N).
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    bias: Tensor | None
    scale: float
    gradient: Tensor | None
    gradient_sum: Tensor | None = None


@dataclass(frozen=True)
class ProductSample:
    """Of a product of matrices.

    Attributes:
        left: (B, M, K).
        right: (B, K, C).
        gradient: (B, M, C) of `calibration.fisher_probe`; None where errors have no weights.
        largest: (2, K) largest value and largest magnitude of all columns of the right, not only of these C; None where
            these are all.
    """

    left: Tensor
    right: Tensor
    gradient: Tensor | None
    largest: Tensor | None = None


class Samples:
    """The files of a calibration.

    Args:
        paths: one a photograph, as `write` made them.
        weighted: read gradients, too, where there are some.
    """

    def __init__(self, paths: Sequence[Path], weighted: bool = True) -> None:
        self.paths = paths
        self._keys: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, path in enumerate(paths):
            with safe_open(path, "pt") as file:
                for key in sorted(file.keys()):
                    if key.rpartition("/")[2].startswith("gradient") and not weighted:
                        continue
                    self._keys[key.partition("/")[0]].append((number, key))

    @staticmethod
    def write(path: Path, tensors: dict[str, Tensor]) -> None:
        """Write what `Recorder.close` gave."""
        with new_file(path) as temporary:
            write_tensors(temporary, tensors)

    def __contains__(self, name: str) -> bool:
        """Whether a layer computed anything."""
        return name in self._keys

    def matrix(self, name: str, seed: int = 0) -> MatrixSample:
        """Of a layer with a weight, by its name."""
        found = self._read(name)
        x = torch.cat(found["x"])
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        gradient = torch.cat(found["gradient"])[order].transpose(0, 1).contiguous() if "gradient" in found else None
        return MatrixSample(
            x[order].transpose(0, 1).contiguous(),
            gradient,
            _seen(found, len(x)),
        )

    def attention(self, name: str) -> tuple[list[AttentionSample], Seen]:
        """Of an attention, by the name of its products."""
        found = self._read(name)
        calls = _calls(found)
        alike: dict[object, list[AttentionSample]] = defaultdict(list)
        for call in calls:
            q, k, v = call["queries"], call["keys"], call["values"]
            bias, scale = call.get("bias"), float(call["scale"])
            key = (q.shape[1:], k.shape[1:], v.shape[1:], bias is None, scale)
            gradients = call.get("gradient"), call.get("gradient_sum")
            alike[key].append(AttentionSample(q, k, v, bias, scale, *gradients))
        seen = _seen(found, sum(call["queries"].shape[0] * call["queries"].shape[1] for call in calls))
        return [part for same in alike.values() for part in _joined(same)], seen

    def product(self, name: str) -> tuple[list[ProductSample], Seen]:
        """Of a product of matrices, by its name."""
        found = self._read(name)
        calls = _calls(found)
        samples = [
            ProductSample(call["left"], call["right"], call.get("gradient"), call.get("largest")) for call in calls
        ]
        return samples, _seen(found, sum(len(s.right) * s.right.shape[2] for s in samples))

    def _read(self, name: str) -> dict[str, list[Tensor]]:
        """Everything of a site, by what it is, one entry a photograph."""
        found: dict[str, list[Tensor]] = defaultdict(list)
        for number, path in enumerate(self.paths):
            with safe_open(path, "pt") as file:
                for at, key in self._keys[name]:
                    if at == number:
                        found[key.removeprefix(f"{name}/")].append(file.get_tensor(key))
        return found


def _calls(found: dict[str, list[Tensor]]) -> list[dict[str, Tensor]]:
    """What was kept of each call, for sites that keep calls apart: names are NUMBER/WHAT."""
    calls: dict[tuple[int, int], dict[str, Tensor]] = defaultdict(dict)
    for name, tensors in found.items():
        number, _, what = name.partition("/")
        for photograph, tensor in enumerate(tensors if what else []):
            calls[photograph, int(number)][what] = tensor
    return [calls[key] for key in sorted(calls)]


def _seen(found: dict[str, list[Tensor]], kept: int) -> Seen:
    ranges = torch.stack(found["ranges"])
    places, macs = torch.stack(found["amount"]).sum(0).tolist()
    lows, highs = ranges[..., 0].amin(0).tolist(), ranges[..., 1].amax(0).tolist()
    photographs = len(found["amount"])
    return Seen(tuple(zip(lows, highs, strict=True)), places / photographs / kept, macs / photographs)


def _joined(same: list[AttentionSample]) -> list[AttentionSample]:
    """Samples of one shape, as few as memory allows."""
    together = max(1, _MOST_KEYS // same[0].keys.numel())
    return [_concatenated(same[start : start + together]) for start in range(0, len(same), together)]


def _concatenated(samples: list[AttentionSample]) -> AttentionSample:
    def joined(name: str) -> Tensor | None:
        tensors = [getattr(sample, name) for sample in samples]
        return None if tensors[0] is None else torch.cat(tensors)

    names = ("queries", "keys", "values", "bias", "gradient", "gradient_sum")
    return AttentionSample(**{name: joined(name) for name in names}, scale=samples[0].scale)  # type: ignore[arg-type]
