"""Writing a graph as an ExecuTorch program (`.pte`) whose arithmetic XNNPACK does, in float32 or in int8."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from samlet.errors import InputError, SamletError
from samlet.export.executorch_int8 import QUANTIZER, int8_layers, round_layers
from samlet.io.writing import new_file
from samlet.models.modes import whole_layers

_ATEN = torch.ops.aten
_KEEP_SHAPE = (
    _ATEN.pad.default,
    _ATEN.slice.Tensor,
    _ATEN.expand.default,
    _ATEN.alias.default,
    _ATEN.reshape.default,
    _ATEN.contiguous.default,
)  # operators that copy, or do nothing, where the shape stays
_COMPUTED_LATE = (_ATEN.matmul.default, _ATEN.sin.default, _ATEN.cos.default)  # positions: small before, large after


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """What became of a graph's operators and layers.

    Attributes:
        delegated: operators that XNNPACK runs, by name; their number.
        portable: operators that ExecuTorch's own kernels run.
        int8: names of the layers that run in int8.
        kept_float: names of the convolutions large enough for int8 that lose too much by it.
    """

    delegated: Mapping[str, int]
    portable: Mapping[str, int]
    int8: tuple[str, ...] = ()
    kept_float: tuple[str, ...] = ()


def to_executorch(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    int8_images: Sequence[tuple[Tensor, ...]] | None = None,
) -> Lowered:
    """Write one graph with a method `forward`.

    Args:
        module: in evaluation mode; it is not changed. Encoders are traced on their whole path, not in strips.
        example: inputs; the program takes tensors of exactly these shapes and types, contiguous, in this order.
        path: of the `.pte` file.
        int8_images: inputs made from photographs, some 2 to 4, that decide which convolutions go to int8 with the
            linear layers; float32 if None.

    Raises:
        InputError: executorch or torchao is not installed, or `int8_images` is empty.
        SamletError: the graph cannot be written.
    """
    if int8_images is not None and not int8_images:
        raise InputError("int8 needs the inputs made from at least one photograph, and none are given")
    lowering = _imported("executorch.exir")
    partitioner = _imported("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    folding = _imported("executorch.exir.passes.constant_prop_pass")
    for name in QUANTIZER if int8_images else ():
        _imported(name)
    int8: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    try:
        with _quiet():
            frozen = _frozen(module)
            inputs = _contiguous(example)
            program = folding.constant_prop_pass(_captured(frozen, inputs), set(_COMPUTED_LATE))
            if int8_images is not None:
                images = [_contiguous(given) for given in int8_images]
                int8, kept = int8_layers(frozen, images)
                program = round_layers(program, images[0], int8)
            edge = lowering.to_edge_transform_and_lower(program, partitioner=[partitioner.XnnpackPartitioner()])
            delegated, portable = _operators(edge.exported_program().graph_module)
            made = edge.to_executorch()
    except SamletError:
        raise
    except Exception as error:  # the exporter's errors share no other base
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise SamletError(f"{path.name} cannot be written as an ExecuTorch program: {reason}") from error
    with new_file(path) as temporary, temporary.open("wb") as file:
        made.write_to_file(file)
    return Lowered(delegated=delegated, portable=portable, int8=int8, kept_float=kept)


def _imported(name: str) -> Any:
    try:
        with _quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"writing .pte files needs {name.partition('.')[0]}, which cannot be imported ({error}); "
            "run: pip install 'samlet[executorch]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's warnings go nowhere."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _frozen(module: nn.Module) -> nn.Module:
    """A copy without gradients whose weights are contiguous: XNNPACK refuses those that lie channels-last."""
    made = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    for tensor in (*made.parameters(), *made.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return made


def _contiguous(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for tensor in inputs)


def _captured(module: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """The graph in operators that XNNPACK takes."""
    with whole_layers(), torch.no_grad():
        program = torch.export.export(module, example, strict=False)
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target in _KEEP_SHAPE and isinstance(node.args[0], Node):
            before, after = node.args[0].meta["val"], node.meta["val"]
            if before.shape == after.shape and before.dtype == after.dtype:
                node.replace_all_uses_with(node.args[0])
                program.graph.erase_node(node)
    program.graph_module.recompile()
    rewritten = {
        _ATEN.scaled_dot_product_attention.default: _attend,
        _ATEN.split_with_sizes.default: _split,
        _ATEN.split.Tensor: _split,
        _ATEN.upsample_bicubic2d.vec: _enlarge,
    }
    return program.run_decompositions(rewritten)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention in plain products; torch's own takes rows into account that attend to nothing, in many operators."""
    del dropout_p, is_causal, enable_gqa
    batch = q.shape[:2]
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.bmm((q * factor).flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).unflatten(0, batch)
    scores = scores if attn_mask is None else scores + attn_mask
    return torch.bmm(scores.softmax(-1).flatten(0, 1), v.flatten(0, 1)).unflatten(0, batch)


def _split(x: Tensor, sizes: Sequence[int] | int, dim: int = 0) -> list[Tensor]:
    total = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [_ATEN.slice.Tensor(x, dim, start, start + size) for start, size in zip(starts, sizes, strict=True)]


def _enlarge(x: Tensor, size: Sequence[int] | None, align_corners: bool, scales: Sequence[float] | None) -> Tensor:
    """Bicubic interpolation of (N, C, H, W) as two products, with constant matrices that are interpolated unit ones."""
    found = x.shape[2:]
    wanted = [int(side * scale) for side, scale in zip(found, scales or (), strict=True)] if size is None else size
    for side, new in ((found[1], wanted[1]), (found[0], wanted[0])):
        unit = torch.eye(side, dtype=x.dtype, device=x.device)[None, None]
        x = F.linear(x, _ATEN.upsample_bicubic2d.default(unit, [new, side], align_corners)[0, 0]).transpose(2, 3)
    return x


def _operators(graph_module: GraphModule) -> tuple[dict[str, int], dict[str, int]]:
    """Operators that XNNPACK runs, and others, by name."""
    parts = [getattr(part, "original_module", None) for part in graph_module.modules()]
    graphs = [part.graph_module for part in parts if isinstance(part, ExportedProgram)]
    delegated: Counter[str] = sum((_count(graph) for graph in graphs), Counter())
    return dict(delegated.most_common()), dict(_count(graph_module).most_common())


def _count(graph_module: GraphModule) -> Counter[str]:
    targets = [node.target for node in graph_module.graph.nodes if node.op == "call_function"]
    names = [getattr(target, "__name__", str(target)) for target in targets]  # namespace.name.overload, or name alone
    short = [name.split(".")[-2] if "." in name else name for name in names]
    return Counter(name for name in short if name not in ("getitem", "executorch_call_delegate"))
