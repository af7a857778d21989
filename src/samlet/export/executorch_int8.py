"""Which layers of an ExecuTorch program run in int8, and the program with them.

Weights have a step for each output channel and are stored rounded. Inputs are rounded while the program runs, each
token of a linear layer and each image of a convolution by its own range, and outputs stay float: a range fixed before
would have to hold the few channels whose values are far larger than all others.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from samlet.export.verification import sqnr
from samlet.models.modes import whole_layers

QUANTIZER = ("torchao.quantization.pt2e.quantize_pt2e", "executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
"""What `round_layers` imports."""

_LEAST_SQNR = 40.0  # dB that the outputs must keep when one convolution is rounded, or it stays float
_FEWEST_WEIGHTS = 1 << 14  # convolutions up to this size gain neither bytes nor time worth their noise
_OPERATORS = (torch.ops.aten.linear.default, torch.ops.aten.conv2d.default)


def int8_layers(module: nn.Module, images: Sequence[tuple[Tensor, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the layers for int8, linear ones and large convolutions, and of such convolutions that stay float.

    Args:
        module: in evaluation mode, without gradients.
        images: inputs made from photographs.
    """
    chosen = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    kept: list[str] = []
    with whole_layers(), torch.no_grad():  # as the program will
        expected = [_outputs(module, given) for given in images]
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.weight.numel() > _FEWEST_WEIGHTS:
                with _rounded(layer):
                    found = [_outputs(module, given) for given in images]
                fits = all(map(_is_close, found, expected))
                (chosen if fits else kept).append(name)
    return tuple(chosen), tuple(kept)


def _is_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(sqnr(ours, theirs) >= _LEAST_SQNR for ours, theirs in zip(found, expected, strict=True))


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    found = module(*inputs)
    return (found,) if isinstance(found, Tensor) else tuple(found)


@contextlib.contextmanager
def _rounded(layer: nn.Conv2d) -> Iterator[None]:
    """The layer computes as it will in int8."""
    weight = layer.weight.data
    step = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    layer.weight.data = (weight / step).round() * step
    hook = layer.register_forward_pre_hook(lambda _, inputs: _round(inputs[0]))
    try:
        yield
    finally:
        hook.remove()
        layer.weight.data = weight


def _round(x: Tensor) -> Tensor:
    low, high = x.amin((1, 2, 3), keepdim=True).clamp(max=0), x.amax((1, 2, 3), keepdim=True).clamp(min=0)
    step = ((high - low) / 255).clamp(min=1e-12)
    return (x / step).round() * step


def round_layers(program: ExportedProgram, inputs: tuple[Tensor, ...], layers: Sequence[str]) -> ExportedProgram:
    """The graph with the layers' weights rounded and the rounding of their inputs written down.

    Args:
        program: with the names of the layers' weights.
        inputs: of the program.
        layers: from `int8_layers`.
    """
    pt2e, quantizing = (importlib.import_module(name) for name in QUANTIZER)
    weights = {f"{name}.weight" for name in layers}
    config = quantizing.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    quantizer = quantizing.XNNPACKQuantizer()
    for operator in _OPERATORS:
        quantizer.set_operator_type(operator, config)

    def wanted(node: Node) -> bool:
        return node.op != "call_function" or getattr(node.args[1], "target", None) in weights

    quantizer.set_filter_function(wanted)
    with torch.no_grad():
        prepared = pt2e.prepare_pt2e(program.module(), quantizer)
        prepared(*inputs)  # its observers see the weights
        converted = pt2e.convert_pt2e(prepared)
        _round_apart(converted)
        return torch.export.export(converted, inputs, strict=False)


def _round_apart(graph_module: GraphModule) -> None:
    """Give each layer the rounding of its input to itself.

    Layers that share it go to XNNPACK together, which fails where one depends on another through other operators.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target in _OPERATORS and "dequantize_per_tensor" in str(node.args[0].target):
            with graph.inserting_before(node):
                node.replace_input_with(node.args[0], _copied(node.args[0]))
    graph.eliminate_dead_code()
    graph_module.recompile()


def _copied(rounded: Node) -> Node:
    """The nodes once more that find the range of a tensor, round it, and make it float again."""
    whole: Any = rounded.args[0]
    _, step, zero_point, *_ = whole.args
    made: dict[Node, Node] = {}
    for node in (step.args[0], step, zero_point, whole, rounded):
        made[node] = rounded.graph.node_copy(node, lambda argument: made.get(argument, argument))
    return made[rounded]
