"""Keeping a random sample of what the layers of a model compute, and of the gradient of `calibration.fisher_probe`.

A sample of a linear layer or convolution is the factors of some outputs (see `matrices`); of an attention, all keys and
values of some heads with some queries; of the product that makes masks, some of its columns. Which ones is drawn from
seed, photograph and layer, so that inputs and gradients may be taken in different passes.

Shape legend: S samples, G groups, K factors, O outputs, P heads (of windows or prompts), R queries, L keys, D, E
channels of a head, B prompts, M masks, N pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from samlet.quantization.linear_algebra import Layer, input_rows, output_rows, positions, weight_matrix
from samlet.quantization.sites import Site

_HEADS = 8  # of an attention's heads, windows and prompts: each brings all its keys and values
_FEWEST = 8
_SMALL_WEIGHT, _MOST_MORE = 1 << 16, 2  # layers of fewer weights keep more, so that rare large values are among them
_FEW_KEYS, _MOST_MORE_HEADS = 512, 8  # so do attentions with fewer keys


class Recorder:
    """Hooks on the layers of a model, a copy that nobody else uses.

    Args:
        modules: the layers to listen to, by name.
        sites: the same.
        samples: output positions to keep of a layer and photograph.
        seed: of the positions.
        image: number of the photograph.

    Attributes:
        calls: how often the decoder is asked; its layers' share of the samples is divided by that.
        prompts: in all calls; multiply-accumulates of the decoder are for one.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], sites: Sequence[Site], samples: int, seed: int, image: int
    ) -> None:
        self.seed, self.image, self.samples = seed, image, samples
        self.calls = self.prompts = 1
        self.tensors: dict[str, list[Tensor]] = defaultdict(list)
        self._keeps_inputs = self._keeps_gradients = False
        self._call: dict[str, int] = defaultdict(int)
        self._queries: dict[str, int] = defaultdict(int)
        kinds = {"attention": self._attention, "product": self._product}
        self._handles = [
            self._listen(site.name, modules[site.name], kinds.get(site.kind, self._layer)) for site in sites
        ]

    def start(self, inputs: bool, gradients: bool) -> None:
        """Begin a pass over the photograph: what to keep of it."""
        self._keeps_inputs, self._keeps_gradients = inputs, gradients
        self._call.clear()
        self._queries.clear()

    def pause(self) -> None:
        """Keep nothing of what is computed from here on; gradients of what was computed still count."""
        self._keeps_inputs = self._keeps_gradients = False

    def close(self) -> dict[str, Tensor]:
        """Take the hooks off and give what was kept, by the name of the layer, a slash and what it is."""
        for handle in self._handles:
            handle.remove()
        return {name: _joined(name, parts) for name, parts in self.tensors.items()}

    def _listen(self, name: str, module: nn.Module, keep: Callable[..., Tensor | None]) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], out: Tensor) -> Tensor | None:
            if not (self._keeps_inputs or self._keeps_gradients):
                return None
            if self._keeps_gradients and not out.requires_grad:  # it depends on prompts alone
                out = out.detach().requires_grad_()
            with torch.no_grad():
                keep(name, module, [*args, *named.values()], out)
            return out

        return module.register_forward_hook(hook, with_kwargs=True)

    def _layer(self, name: str, layer: Layer, args: list[Any], out: Tensor) -> None:
        x: Tensor = args[0]
        total = positions(layer, x, out)
        more = min(_MOST_MORE, max(1, _SMALL_WEIGHT // weight_matrix(layer).numel()))
        index = self._draw(name, total, more * self._share(name)).to(x.device)
        self._call[name] += 1
        if self._keeps_inputs:
            self._keep(f"{name}/x", input_rows(layer, x, index, out.shape))
            self._describe(name, [x], total, total * weight_matrix(layer).numel())
        if self._keeps_gradients:
            out.register_hook(lambda grad: self._keep(f"{name}/gradient", output_rows(layer, grad, index)))

    def _attention(self, name: str, products: nn.Module, args: list[Tensor], out: Tensor) -> None:
        q, k, v, scale = args[0], args[1], args[2], args[3]
        bias = args[4] if len(args) > 4 else None
        in_encoder = name.startswith("image_encoder.")
        batch, heads, queries = out.shape[:3]
        own = cast(int, products.keys_per_query)
        everyone = k.shape[2] // own if in_encoder else queries  # the encoder may ask a few queries at a time
        call = self._call[name]
        more = max(1, _FEW_KEYS // k.shape[2])
        count = (_HEADS if in_encoder else max(1, _HEADS // self.calls)) * min(more, _MOST_MORE_HEADS)
        pairs = self._draw(f"{name} heads", batch * heads, count, call).to(q.device)
        some = max(_FEWEST, self._share(name) // len(pairs)) * max(1, more // _MOST_MORE_HEADS)
        rows = self._draw(name, everyone, some, call).to(q.device)
        entry, head = pairs // heads, pairs % heads
        if self._keeps_inputs:
            start = self._queries[name]
            here = rows[(rows >= start) & (rows < start + queries)] - start
            prefix = f"{name}/{call}"
            self._keep(f"{prefix}/queries", q[entry, head][:, here])
            if bias is not None:
                whole = bias.expand(batch, heads, queries, k.shape[2])
                self._keep(f"{prefix}/bias", whole[entry, head][:, here])
            if not start:
                self._keep(f"{prefix}/keys", k[entry, head])
                self._keep(f"{prefix}/values", v[entry, head])
                self._keep(f"{prefix}/scale", torch.tensor([scale], dtype=torch.float64))
            sums = batch * heads * queries * k.shape[2] * (q.shape[3] + v.shape[3])
            self._describe(name, [q, k, v], batch * heads * queries, sums)
            self._queries[name] = (start + queries) % everyone
            self._call[name] += not self._queries[name]
        else:
            self._call[name] += 1
        if self._keeps_gradients:
            share = math.sqrt(len(rows) / everyone)

            def keep(grad: Tensor) -> None:
                mine = grad[entry, head]
                self._keep(f"{name}/{call}/gradient", mine[:, rows])
                self._keep(f"{name}/{call}/gradient_sum", mine.sum(1) * share)

            out.register_hook(keep)

    def _product(self, name: str, _: nn.Module, args: list[Tensor], out: Tensor) -> None:
        left, right = args
        call = self._call[name]
        self._call[name] += 1
        columns = self._draw(name, out.shape[2], self._share(name), call).to(out.device)
        if self._keeps_inputs:
            self._keep(f"{name}/{call}/left", left)
            self._keep(f"{name}/{call}/right", right[:, :, columns])
            self._keep(f"{name}/{call}/largest", torch.stack([right.amax((0, 2)), right.abs().amax((0, 2))]))
            self._describe(name, [left, right], len(out) * out.shape[2], out.numel() * left.shape[2])
        if self._keeps_gradients:
            out.register_hook(lambda grad: self._keep(f"{name}/{call}/gradient", grad[:, :, columns]))

    def _share(self, name: str) -> int:
        inside = name.startswith("image_encoder.")
        return self.samples if inside else max(_FEWEST, self.samples // self.calls)

    def _draw(self, what: str, total: int, count: int, call: int | None = None) -> Tensor:
        """Numbers below `total`, ascending, the same in every pass."""
        number = self._call[what] if call is None else call
        digest = hashlib.sha256(f"{self.seed} {self.image} {what} {number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        return torch.randperm(total, generator=generator)[:count].sort().values

    def _describe(self, name: str, factors: Sequence[Tensor], places: int, macs: float) -> None:
        """Smallest and largest value of each factor, positions and multiply-accumulates, not only the sample's."""
        macs = macs if name.startswith("image_encoder.") else macs / self.prompts
        ranges = torch.stack([torch.stack(x.aminmax()) for x in factors])
        self._keep(f"{name}/ranges", ranges.float()[None])
        self._keep(f"{name}/amount", torch.tensor([[places, macs]], dtype=torch.float64))

    def _keep(self, name: str, value: Tensor) -> None:
        self.tensors[name].append(value.detach().to("cpu", copy=True))


def _joined(name: str, parts: list[Tensor]) -> Tensor:
    what = name.rpartition("/")[2]
    if what == "ranges":
        stacked = torch.cat(parts)
        return torch.stack([stacked[..., 0].amin(0), stacked[..., 1].amax(0)], dim=-1)
    if what == "amount":
        return torch.cat(parts).sum(0)
    axis = 1 if what in ("queries", "bias") else 0
    return torch.cat(parts, dim=axis).contiguous()
