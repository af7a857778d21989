"""Layers whose weights and inputs are rounded to a few levels, computed in float: simulated quantization.

Q-TinySAM (Shu et al., "TinySAM", 2023, section 3.3) with the quantizers of Yuan et al., "PTQ4ViT", ECCV 2022. Every
number of bits is possible; what the arithmetic of integers would give differs only in how sums are rounded.

One module, though long: each quantizer is a few lines, and layers are what quantizers and scales are for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class InputQuantizer(nn.Module):
    """Rounds the inputs x of a layer to levels: s · clamp(round(x / s), -q, q - 1) with q = 2 ** (bits - 1).

    Halves are rounded to even. Values stay what they are in kind: float in, float out.

    Args:
        scale: (chunks,) scale s of equal chunks of the channels.
        bits: of one value.
        axes_behind: axes behind that of the channels: 0 for a linear layer, 2 for a convolution.
        offset: (chunks,) subtracted before and added after, for inputs that do not lie around 0.
        negative_scale: (1,) scale of values below 0 where those have their own, as after GELU (PTQ4ViT's twin uniform
            quantization): `scale` then serves levels 0 to q - 1, and this one -q to 0.
    """

    scale: Tensor
    offset: Tensor | None
    negative_scale: Tensor | None

    def __init__(
        self,
        scale: Tensor,
        bits: int,
        *,
        axes_behind: int = 0,
        offset: Tensor | None = None,
        negative_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.bits, self.axes_behind = bits, axes_behind
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        self.register_buffer("negative_scale", negative_scale)

    def forward(self, x: Tensor) -> Tensor:
        levels = 2 ** (self.bits - 1)
        scale = self._over_channels(self.scale, x)
        if self.negative_scale is not None:
            return fake_quantize(x, scale, 0, levels - 1) + fake_quantize(x, self.negative_scale, -levels, 0)
        if self.offset is None:
            return fake_quantize(x, scale, -levels, levels - 1)
        offset = self._over_channels(self.offset, x)
        return fake_quantize(x - offset, scale, -levels, levels - 1) + offset

    def _over_channels(self, values: Tensor, x: Tensor) -> Tensor:
        """One value a chunk as one a channel, in a shape that broadcasts against x."""
        if len(values) > 1:
            values = values.repeat_interleave(x.shape[-1 - self.axes_behind] // len(values))
        return values.view(-1, *[1] * self.axes_behind)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, chunks={len(self.scale)}"


def fake_quantize(x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    """The nearest multiples of `scale`, from `lowest` to `highest` times it; halves go to the even multiple."""
    return (x / scale).round().clamp(lowest, highest) * scale


class RowQuantizer(nn.Module):
    """Rounds a matrix that stands for weights: each row, an output channel, has a scale from its own largest value.

    The scale is found anew for every matrix (dynamic quantization): a network made it, and the next one may be a
    hundred times larger. Columns are brought to one size first, by factors that the other side of the product has
    inversely.

    Args:
        balance: (columns,) factors.
        share: (1,) of the largest value that the levels cover.
        bits: of one value.
    """

    balance: Tensor
    share: Tensor

    def __init__(self, balance: Tensor, share: Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("balance", balance)
        self.register_buffer("share", share)

    def forward(self, x: Tensor) -> Tensor:
        levels, balanced = 2 ** (self.bits - 1) - 1, x * self.balance
        scale = balanced.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) * self.share / levels
        return fake_quantize(balanced, scale, -levels, levels) / self.balance

    def extra_repr(self) -> str:
        return f"bits={self.bits}, columns={len(self.balance)}"


class ProbabilityQuantizer(nn.Module):
    """Rounds attention weights in [0, 1] by two ranges, as PTQ4ViT's twin uniform quantization does after softmax.

    One bit says which range a value is in: below `split` the scale is split / 2 ** (bits - 1), from there on
    1 / 2 ** (bits - 1).

    Args:
        split: () between 0 and 1.
        bits: of one value.
    """

    split: Tensor

    def __init__(self, split: Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("split", split)

    def forward(self, x: Tensor) -> Tensor:
        levels = 2 ** (self.bits - 1)
        fine = fake_quantize(x, self.split / levels, 0, levels - 1)
        return torch.where(x < self.split, fine, fake_quantize(x, torch.full_like(self.split, 1 / levels), 0, levels))

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class LogQuantizer(nn.Module):
    """Rounds attention weights in [0, 1] to zero and to powers of a root of two, 2 ** (-k / per_octave).

    Attention over many keys leaves most weights small and a few near 1; levels of equal ratio keep both. Levels k go
    from 0 to 2 ** bits - 2, and what lies below the smallest is 0. With one level an octave a product is a shift
    (log2 quantization); more levels an octave reach less far down (PTQ4SAM, Lv et al., CVPR 2024, section 3.3, where
    the number is a power of two and searched).

    Args:
        per_octave: () levels between a number and its half.
        bits: of one value.
    """

    per_octave: Tensor

    def __init__(self, per_octave: Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("per_octave", per_octave)

    def forward(self, x: Tensor) -> Tensor:
        lowest = 2**self.bits - 1
        level = (x.log2() * -self.per_octave).round().clamp(min=0)  # 0 is at infinity
        return torch.where(level < lowest, (level / -self.per_octave).exp2(), torch.zeros_like(x))

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class QuantizedAttention(nn.Module):
    """The products of attention with all four factors quantized; stands in the place of `AttentionProducts`.

    Args:
        queries: quantizer of the queries; None leaves a factor as it is.
        keys: of the keys.
        probabilities: of the attention weights.
        values: of the values.
    """

    def __init__(
        self,
        queries: InputQuantizer | None,
        keys: InputQuantizer | None,
        probabilities: ProbabilityQuantizer | LogQuantizer | None,
        values: InputQuantizer | None,
    ) -> None:
        super().__init__()
        self.queries, self.keys = queries or nn.Identity(), keys or nn.Identity()
        self.probabilities, self.values = probabilities or nn.Identity(), values or nn.Identity()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
        logits = self.queries(q) @ self.keys(k).transpose(-2, -1) * scale
        if bias is not None:
            logits = logits + bias
        return self.probabilities(logits.softmax(-1)) @ self.values(v)


class QuantizedProduct(nn.Module):
    """A product of two matrices with both quantized; stands in the place of `Product`.

    Args:
        left: quantizer of the first matrix; None leaves it as it is.
        right: of the second.
    """

    def __init__(self, left: InputQuantizer | RowQuantizer | None, right: InputQuantizer | None) -> None:
        super().__init__()
        self.left, self.right = left or nn.Identity(), right or nn.Identity()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) @ self.right(b)


class QuantizedLinear(nn.Linear):
    """A linear layer that quantizes its input; its weight is expected to be on a grid already.

    Args:
        layer: whose weight and bias it takes over, not as a copy.
        inputs: the quantizer; None for inputs as they are.
        weight_scale: (out,) scales of the weight's grid, or (out, chunks), see `along`; None where they are not known.
        weight_bits: of one weight; None where they are not known.
        weight_group: input channels of a chunk; None where an output channel has one scale.
    """

    inputs: nn.Module
    weight_scale: Tensor | None
    weight_bits: int | None
    weight_group: int | None

    def __init__(
        self,
        layer: nn.Linear,
        inputs: InputQuantizer | None,
        weight_scale: Tensor | None = None,
        weight_bits: int | None = None,
        weight_group: int | None = None,
    ) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        _take_over(self, layer, inputs, weight_scale, weight_bits, weight_group)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.inputs(input))


class QuantizedConv2d(nn.Conv2d):
    """A convolution that quantizes its input, and pads it after that: borders are exact zeros.

    Arguments as of `QuantizedLinear`.
    """

    inputs: nn.Module
    weight_scale: Tensor | None
    weight_bits: int | None
    weight_group: int | None

    def __init__(
        self,
        layer: nn.Conv2d,
        inputs: InputQuantizer | None,
        weight_scale: Tensor | None = None,
        weight_bits: int | None = None,
        weight_group: int | None = None,
    ) -> None:
        super().__init__(**_shape(layer), device="meta")
        _take_over(self, layer, inputs, weight_scale, weight_bits, weight_group)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.inputs(input))


class QuantizedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that quantizes its input. Arguments as of `QuantizedLinear`."""

    inputs: nn.Module
    weight_scale: Tensor | None
    weight_bits: int | None
    weight_group: int | None

    def __init__(
        self,
        layer: nn.ConvTranspose2d,
        inputs: InputQuantizer | None,
        weight_scale: Tensor | None = None,
        weight_bits: int | None = None,
        weight_group: int | None = None,
    ) -> None:
        super().__init__(**_shape(layer), device="meta")
        _take_over(self, layer, inputs, weight_scale, weight_bits, weight_group)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(self.inputs(input), output_size)


def _shape(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, Any]:
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    if isinstance(layer, nn.ConvTranspose2d):
        names.append("output_padding")
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


def _take_over(
    made: QuantizedLayer,
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d,
    inputs: InputQuantizer | None,
    weight_scale: Tensor | None,
    weight_bits: int | None,
    weight_group: int | None,
) -> None:
    made.weight, made.bias = layer.weight, layer.bias
    made.inputs = nn.Identity() if inputs is None else inputs
    made.register_buffer("weight_scale", weight_scale)
    made.weight_bits, made.weight_group = weight_bits, weight_group
    made.train(layer.training)


QuantizedLayer = QuantizedLinear | QuantizedConv2d | QuantizedConvTranspose2d


def quantized(
    layer: nn.Module,
    inputs: InputQuantizer | None,
    weight_scale: Tensor | None = None,
    weight_bits: int | None = None,
    weight_group: int | None = None,
) -> QuantizedLayer | None:
    """The layer with its input quantized; None if it is of no kind that has a quantized one."""
    if isinstance(layer, nn.Linear):
        return QuantizedLinear(layer, inputs, weight_scale, weight_bits, weight_group)
    if isinstance(layer, nn.Conv2d):
        return QuantizedConv2d(layer, inputs, weight_scale, weight_bits, weight_group)
    if isinstance(layer, nn.ConvTranspose2d):
        return QuantizedConvTranspose2d(layer, inputs, weight_scale, weight_bits, weight_group)
    return None


def out_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight that counts its output channels."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def along(scale: Tensor, weight: Tensor, axis: int, group: int | None = None) -> Tensor:
    """Steps in a shape that broadcasts against a weight.

    Args:
        scale: (out,), or (out, chunks) where every chunk of input channels has a scale of its own.
        weight: with its output channels on `axis` and its input channels on the other of the first two.
        axis: 0 or 1.
        group: input channels of a chunk; the last may have fewer. None for one scale an output channel.
    """
    shape = [1] * weight.ndim
    shape[axis] = -1
    if group is None:
        return scale.view(shape)
    channels = weight.shape[1 - axis]
    shape[1 - axis] = channels
    scales = scale.repeat_interleave(group, dim=1)[:, :channels]
    return (scales if axis == 0 else scales.T).reshape(shape)


def is_quantized(model: nn.Module) -> bool:
    """Whether a model, such as a `Sam`, has a quantized layer."""
    kinds = (QuantizedLinear, QuantizedConv2d, QuantizedConvTranspose2d, QuantizedAttention, QuantizedProduct)
    return any(isinstance(module, kinds) for module in model.modules())
