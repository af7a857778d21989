"""Closed-form recovery: after a cut, layers are refitted to what they gave before, by least squares.

When a linear layer or convolution of the cut encoder is about to run, its inputs are those of the cut encoder with all
earlier layers refitted already; the weights that bring them closest to what the uncut encoder computed there, on the
channels that stay, have a closed form. Errors of earlier cuts are so compensated in the layers after them. The idea is
that of channel pruning by reconstruction (He et al., "Channel Pruning for Accelerating Very Deep Neural Networks",
ICCV 2017), here for every layer on the way.

Both encoders are walked through segment by segment. What stands between two segments is kept for every photograph in a
file that is mapped into memory, so memory does not grow with the number of photographs; of each photograph a few
positions are looked at in each layer, the more photographs the fewer. A segment runs again for each of its layers; few
photographs are computed at once instead, and then it runs once.

One module, though long: walk, targets and fit share the positions that are looked at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models import Embedding, ImageEncoder
from samlet.models.groups import Segment
from samlet.models.modes import whole_layers
from samlet.slimming.activation_store import ActivationStore
from samlet.slimming.surgery import kept_positions

_ROWS = 16384  # positions that a layer is fitted on, over all photographs
_TOGETHER = 512**2  # pixels of the photographs that are computed at once, where they are many
_FEW = 16 * 512**2  # pixels of all photographs, up to which all are computed at once
_RIDGE = 0.03

Layer = nn.Linear | nn.Conv2d


@torch.no_grad()
def reconstruct(
    cut: ImageEncoder,
    whole: ImageEncoder,
    kept: Mapping[str, Tensor],
    images: Iterable[Tensor],
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> None:
    """Refit the layers of a cut encoder in place.

    Args:
        cut: the encoder after `cut_encoder`, frozen.
        whole: the encoder before, frozen.
        kept: what stayed, by group.
        images: photographs (3, H, W) of one size; the more the better. Without any nothing is refitted.
        seed: of the choice of positions.
        progress: called after each segment.
    """
    with tempfile.TemporaryDirectory(prefix="samlet-recovery-") as temporary:
        Reference(whole, images, Path(temporary), seed).refit(cut, kept, progress)


class Reference:
    """What an encoder computes on photographs before anything is cut, to refit cut ones to.

    Args:
        whole: the encoder, frozen.
        images: photographs (3, H, W) of one size.
        folder: an empty folder for files that are mapped into memory.
        seed: of the choice of positions.
        rows: positions that a layer is fitted on, over all photographs.
        keep: keep everything for further cut encoders; otherwise only one can be refitted, and little memory is taken.
        at_once: compute all photographs at once, which is several times faster and takes memory for all of them.
    """

    def __init__(
        self,
        whole: ImageEncoder,
        images: Iterable[Tensor],
        folder: Path,
        seed: int = 0,
        rows: int = _ROWS,
        keep: bool = False,
        at_once: bool = False,
    ) -> None:
        self._whole, self._folder, self._keep = whole, folder, keep
        self._segments = whole.segments()
        self._states = [ActivationStore(folder / "images", (image[None] for image in images))]
        self._targets: list[dict[str, Tensor]] = []
        count = len(self._states[0])
        pixels = max(1, self._states[0].values // 3)
        together = count if at_once or count * pixels <= _FEW else _TOGETHER // pixels
        self._walk = _Walk(count, max(1, together), seed, rows, next(whole.parameters()).device)
        self._cuts = 0

    @torch.no_grad()
    def refit(
        self, cut: ImageEncoder, kept: Mapping[str, Tensor], progress: Callable[[], object] | None = None
    ) -> None:
        """Refit a cut encoder in place; see `reconstruct`."""
        if not len(self._states[0]):
            return
        positions = kept_positions(self._whole, kept)
        touched = {name.rpartition(".")[0] for name, _ in positions}
        self._cuts += 1
        after: ActivationStore | None = None  # as long as nothing was cut, the same as before
        for number, segment in enumerate(cut.segments()):
            targets, before = self._computed(number), self._states[number]
            layers = _layers(cut, segment)
            if after is not None or not touched.isdisjoint(_modules(cut, segment)):
                wanted = {
                    name: target if (stay := positions.get((f"{name}.weight", 0))) is None else target[:, stay]
                    for name, target in targets.items()
                }
                path = self._folder / f"after-{self._cuts}-{number}"
                following = ActivationStore(path, _refitted(segment, layers, wanted, after or before, self._walk))
                if after is not None:
                    after.forget()
                after = following
            if not self._keep:
                targets.clear()
                before.forget()
            if progress is not None:
                progress()
        if after is not None:
            after.forget()

    def _computed(self, number: int) -> dict[str, Tensor]:
        """What the layers of a segment give at the sampled positions; the state after it is there from now on."""
        if number == len(self._targets):
            segment, state = self._segments[number], self._states[number]
            path = self._folder / f"before-{number + 1}"
            targets, after = _targets(self._whole, segment, state, path, self._walk)
            self._targets.append(targets)
            self._states.append(after)
        return self._targets[number]


def _modules(encoder: ImageEncoder, segment: Segment) -> set[str]:
    """Names of all modules of a segment, and of the encoder itself, which may own a table of places."""
    inside = {
        f"{prefix}.{name}".rstrip(".")
        for prefix in segment.modules
        for name, _ in encoder.get_submodule(prefix).named_modules()
    }
    return inside | {""}


@dataclass(frozen=True)
class _Walk:
    """How photographs are walked through.

    Attributes:
        photographs: their number.
        together: how many are computed at once.
        seed: of the positions.
        rows: looked at in all.
        device: of the encoders.
    """

    photographs: int
    together: int
    seed: int
    rows: int
    device: torch.device

    def positions(self, total: int, first: int, count: int) -> Tensor:
        """Rows to look at of a layer's `total` rows for `count` photographs from number `first` on, as often as asked.

        The rows of a photograph stand together.
        """
        each = total // count
        share = min(each, max(1, -(-self.rows // self.photographs)))
        found = []
        for i in range(count):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first + i)
            found.append(i * each + torch.randperm(each, generator=generator)[:share])
        return torch.cat(found).to(self.device)


def _layers(encoder: ImageEncoder, segment: Segment) -> dict[str, Layer]:
    """Linear layers and convolutions of a segment by name, in their order."""
    return {
        f"{prefix}.{name}".rstrip("."): layer
        for prefix in segment.modules
        for name, layer in encoder.get_submodule(prefix).named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }


def _targets(
    whole: ImageEncoder, segment: Segment, states: ActivationStore, path: Path, walk: _Walk
) -> tuple[dict[str, Tensor], ActivationStore]:
    """What the layers of a segment give at the sampled positions, (rows, channels), and the states after it."""
    rows: dict[str, list[Tensor]] = {name: [] for name in _layers(whole, segment)}
    at = (0, 1)

    def remember(name: str) -> Callable[..., None]:
        def hook(layer: Layer, _: Any, output: Tensor) -> None:
            found = _rows(output, layer)
            rows[name].append(found[walk.positions(len(found), *at)])

        return hook

    def outputs_of() -> Iterator[Embedding]:
        nonlocal at
        for first, state in states.chunks(walk.together, walk.device):
            at = first, len(state)
            yield segment.run(state)

    handles = [whole.get_submodule(name).register_forward_hook(remember(name)) for name in rows]
    with _observing(handles):
        after = ActivationStore(path, outputs_of())
    return {name: torch.cat(found) for name, found in rows.items()}, after


class _Reached(Exception):  # noqa: N818 - no error: it ends a forward pass at the layer that was asked for
    pass


def _inputs_of(layer: Layer, segment: Segment, states: ActivationStore, walk: _Walk) -> Tensor:
    """What a layer multiplies its weights with at the sampled positions, (rows, inputs)."""
    found: list[Tensor] = []
    at = (0, 1)

    def stop(_: Layer, arguments: tuple[Tensor, ...]) -> None:
        found.append(_inputs(arguments[0], layer, walk, *at))
        raise _Reached

    with _observing([layer.register_forward_pre_hook(stop)]):
        for first, state in states.chunks(walk.together, walk.device):
            at = first, len(state)
            with suppress(_Reached):
                segment.run(state)
    return torch.cat(found)


def _refitted(
    segment: Segment, layers: Mapping[str, Layer], targets: Mapping[str, Tensor], states: ActivationStore, walk: _Walk
) -> Iterator[Embedding]:
    """What a segment gives, chunk by chunk, once its layers are refitted, one after the other."""
    if walk.photographs > walk.together:
        for name, layer in layers.items():
            _fit(layer, _inputs_of(layer, segment, states, walk), targets[name])
        yield from (segment.run(state) for _, state in states.chunks(walk.together, walk.device))
        return

    def fitting(name: str) -> Callable[..., None]:
        def hook(layer: Layer, arguments: tuple[Tensor, ...]) -> None:
            _fit(layer, _inputs(arguments[0], layer, walk, 0, walk.photographs), targets[name])

        return hook

    # all photographs at once: each layer is refitted just before it computes
    with _observing([layer.register_forward_pre_hook(fitting(name)) for name, layer in layers.items()]):
        yield from (segment.run(state) for _, state in states.chunks(walk.together, walk.device))


@contextmanager
def _observing(handles: list[Any]) -> Iterator[None]:
    """With every layer whole, so that what each takes is seen at once."""
    try:
        with whole_layers():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(output: Tensor, layer: Layer) -> Tensor:
    """(positions, channels) of a layer's output."""
    return (output.permute(0, 2, 3, 1) if isinstance(layer, nn.Conv2d) else output).flatten(0, -2)


def _inputs(x: Tensor, layer: Layer, walk: _Walk, first: int, count: int) -> Tensor:
    """Sampled (positions, inputs) that a layer multiplies its weight with."""
    if not isinstance(layer, nn.Conv2d) or (layer.kernel_size == (1, 1) and layer.stride == (1, 1)):
        rows = _rows(x, layer)
        return rows[walk.positions(len(rows), first, count)]
    side, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    padded = F.pad(x, (pad, pad, pad, pad))
    height, width = ((extent - side) // stride + 1 for extent in padded.shape[2:])
    index = walk.positions(len(x) * height * width, first, count)
    image, row, column = index // (height * width), index // width % height, index % width
    reach = torch.arange(side, device=x.device)
    rows, columns = row[:, None] * stride + reach, column[:, None] * stride + reach
    patches = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    return patches.permute(0, 3, 1, 2).flatten(1)  # (positions, C · side · side), as weights are laid out


def _fit(layer: Layer, x: Tensor, y: Tensor) -> None:
    """Ridge regression of y on x around the weights that the layer has; a depthwise layer channel by channel.

    Products in single precision, which such a ridge forgives; the system is solved in double.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    weight = layer.weight.flatten(1).unflatten(0, (groups, -1))  # (groups, outputs, inputs)
    x, y = (t.unflatten(1, (groups, -1)).transpose(0, 1) for t in (x, y))  # (groups, positions, …)
    residual = y - x @ weight.mT
    mean, shift = x.mean(dim=1, keepdim=True), residual.mean(dim=1, keepdim=True)
    if layer.bias is not None:
        x, residual = x - mean, residual - shift
    gram = (x.mT @ x).double()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += _RIDGE * diagonal.mean(dim=1, keepdim=True) + torch.finfo(torch.float32).tiny
    change = torch.cholesky_solve((x.mT @ residual).double(), torch.linalg.cholesky(gram)).mT.to(layer.weight)
    layer.weight += change.reshape(layer.weight.shape)
    if layer.bias is not None:
        layer.bias.copy_((shift - mean @ change.mT).flatten())
