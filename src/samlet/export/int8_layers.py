"""Layers that round their inputs and weights by nodes of the graph, so that a runtime computes them in integers.

Runtimes recognise the pair QuantizeLinear and DequantizeLinear (QDQ) around a product and run it in int8. The scales
are those of `samlet.models.quantized`; a layer's input has one range, symmetric or with a whole zero point.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.errors import InputError
from samlet.models import Sam
from samlet.models.quantized import (
    InputQuantizer,
    QuantizedAttention,
    QuantizedConv2d,
    QuantizedConvTranspose2d,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedProduct,
    along,
    out_axis,
)

Style = Literal["onnxruntime", "openvino"]
"""Which runtime's kernels the nodes are laid out for."""

_OPSET = 20
_KINDS = (QuantizedLinear, QuantizedConv2d, QuantizedConvTranspose2d)


class IntegerLayer(nn.Module):
    """A quantized layer as nodes of an ONNX graph.

    Args:
        layer: with known scales of its weight.
        name: of the layer, for messages.
        inputs: round the inputs; False keeps them float and the weight alone in int8.
        columns: a linear layer as x · Wᵀ with Wᵀ stored, and x of three axes: the form that ONNX Runtime computes in
            integers and puts out as float.
    """

    weight: Tensor
    scale: Tensor
    zero: Tensor | None
    input_scale: Tensor
    input_zero: Tensor
    bias: Tensor | None

    def __init__(self, layer: QuantizedLayer, name: str, inputs: bool, columns: bool) -> None:
        super().__init__()
        axis = out_axis(layer)
        self.layer, self.axis, self.columns = [layer], axis, columns and isinstance(layer, QuantizedLinear)
        if layer.weight_scale is None or layer.weight_bits is None or layer.weight_bits > 8:
            raise InputError(f"{name} has weights of {layer.weight_bits or 'unknown'} bits; expected 2 to 8")
        if layer.weight_group is not None:
            raise InputError(
                f"the weight of {name} has scales for every {layer.weight_group} inputs; integer kernels take one an "
                "output channel: quantize without --weight-group"
            )
        weight = (layer.weight.detach() / along(layer.weight_scale, layer.weight, axis)).round().to(torch.int8)
        if self.columns:
            weight, self.axis = weight.T.contiguous(), 1
        scale = layer.weight_scale.detach().float()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        # ONNX Runtime wants a zero point that OpenVINO would compute with.
        self.register_buffer("zero", torch.zeros_like(scale, dtype=torch.int8) if columns else None)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.rounds = inputs and isinstance(layer.inputs, InputQuantizer)
        if self.rounds:
            assert isinstance(layer.inputs, InputQuantizer)
            scale, zero = _single_range(layer.inputs, name, unsigned=columns)
            self.register_buffer("input_scale", scale)
            self.register_buffer("input_zero", zero)
        self.out_features = layer.weight.shape[axis]  # asked for by the encoders
        self.out_channels = self.out_features

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        if self.rounds:
            weight = _dequantize(self.weight, self.scale, self.zero, self.axis)
        else:  # operators that a runtime computes once, when it loads the file
            weight = self.weight.float() * along(self.scale, self.weight, self.axis)
        (layer,) = self.layer
        if self.columns:
            out = self._rounded(x if x.ndim > 2 else x[None]) @ weight
            out = out if self.bias is None else out + self.bias
            return out if x.ndim > 2 else out[0]
        x = self._rounded(x)
        if isinstance(layer, QuantizedLinear):
            return F.linear(x, weight, self.bias)
        padding = cast("tuple[int, ...]", layer.padding)
        if isinstance(layer, QuantizedConv2d):
            return F.conv2d(x, weight, self.bias, layer.stride, padding, layer.dilation, layer.groups)
        return F.conv_transpose2d(x, weight, self.bias, layer.stride, padding)

    def _rounded(self, x: Tensor) -> Tensor:
        if not self.rounds:
            return x
        inputs = [x, self.input_scale, self.input_zero]
        whole = torch.onnx.ops.symbolic(
            "QuantizeLinear", inputs, dtype=self.input_zero.dtype, shape=x.shape, version=_OPSET
        )
        return _dequantize(whole, self.input_scale, self.input_zero, None)


def _dequantize(whole: Tensor, scale: Tensor, zero: Tensor | None, axis: int | None) -> Tensor:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear",
        [whole, scale] if zero is None else [whole, scale, zero],
        attrs=attributes,
        dtype=torch.float32,
        shape=whole.shape,
        version=_OPSET,
    )


def _single_range(quantizer: InputQuantizer, name: str, unsigned: bool) -> tuple[Tensor, Tensor]:
    """Scale and zero point of an input: int8 where its range is symmetric, uint8 elsewhere or where that is faster."""
    remedy = "quantize with --scheme integer --activations 8"
    if quantizer.negative_scale is not None or quantizer.scale.numel() != 1:
        found = "two ranges" if quantizer.negative_scale is not None else f"{quantizer.scale.numel()} ranges"
        raise InputError(f"the input of {name} has {found}; integer kernels take one: {remedy}")
    if quantizer.bits != 8:
        raise InputError(f"the input of {name} has {quantizer.bits} bits; integer kernels take 8: {remedy}")
    scale = quantizer.scale.detach().float().view(())
    if quantizer.offset is None:
        return scale, torch.full((), 128, dtype=torch.uint8) if unsigned else torch.zeros((), dtype=torch.int8)
    zero = quantizer.offset.detach().double().view(()) / scale.double()
    whole = -zero.round()
    if abs(float(zero + whole)) > 1e-3 or not -128 <= float(whole) <= 127:
        raise InputError(f"the input of {name} has an offset of {float(zero):g} scales; expected a whole one: {remedy}")
    return scale, (whole + 128).to(torch.uint8)


def is_deployable(sam: Sam) -> bool:
    """Whether a model has quantized layers that integer kernels can compute."""
    return any(isinstance(layer, _KINDS) and layer.weight_scale is not None for layer in sam.modules())


def with_integers(module: nn.Module, style: Style, products: bool = True) -> nn.Module:
    """A copy of a model, or of a part of it, whose quantized layers put QDQ nodes into a graph.

    ONNX Runtime computes linear layers in integers and has no activation function to join convolutions by, so it gets
    those with float inputs and int8 weights. OpenVINO joins all of them.

    Args:
        module: with quantized layers.
        style: whose kernels the nodes are for.
        products: False stores weights in int8 and computes in float.

    Raises:
        InputError: a layer is quantized in a way that no integer kernel computes.
    """
    made = copy.deepcopy(module)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, QuantizedAttention | QuantizedProduct):
            raise InputError(
                f"{name} has quantized products of attention, which stay float where integers run; "
                "quantize with --scheme integer"
            )
        if isinstance(layer, _KINDS):
            parent, _, last = name.rpartition(".")
            inputs = products and (style == "openvino" or isinstance(layer, QuantizedLinear))
            integer = IntegerLayer(layer, name, inputs=inputs, columns=style == "onnxruntime")
            setattr(made.get_submodule(parent), last, integer)
    return made
