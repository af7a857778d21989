"""The search against brute force, and the quantizers it chooses from."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from samlet.models.quantized import (
    InputQuantizer,
    LogQuantizer,
    ProbabilityQuantizer,
    QuantizedAttention,
    QuantizedProduct,
    RowQuantizer,
    along,
    fake_quantize,
    quantized,
)
from samlet.quantization.config import QuantConfig
from samlet.quantization.linear_algebra import input_rows, output_rows, positions, weight_matrix
from samlet.quantization.product_search import search_attention, search_product
from samlet.quantization.quantizers import input_range
from samlet.quantization.samples import AttentionSample, MatrixSample, ProductSample, Seen
from samlet.quantization.search import candidates, clipped, search_layer
from samlet.quantization.sensitivity import choose_widths

LAYERS = {
    "linear": lambda: nn.Linear(12, 7),
    "conv": lambda: nn.Conv2d(6, 10, 3, stride=2, padding=1, dilation=2),
    "grouped": lambda: nn.Conv2d(6, 12, 3, padding=1, groups=3),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False),
    "patches": lambda: nn.Conv2d(3, 8, 4, stride=4),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 2, stride=2),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]().requires_grad_(False)
    shape = (3, 5, 12) if kind == "linear" else (2, layer.in_channels, 12, 16)
    return layer, torch.randn(shape, generator=generator(1))


def sample_of(layer, x, weighted=True):
    """All that a layer computes of an input; and the gradient, in the shape of the output."""
    out = layer(x)
    index = torch.arange(positions(layer, x, out))
    rows = input_rows(layer, x, index, out.shape).transpose(0, 1).contiguous()
    gradient = torch.randn(out.shape, generator=generator(2)) ** 3
    low, high = x.aminmax()
    return MatrixSample(
        rows,
        output_rows(layer, gradient, index).transpose(0, 1).contiguous() if weighted else None,
        Seen(((float(low), float(high)),), 1.0, 1.0),
    ), (gradient if weighted else None)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_matrices(kind):
    layer, x = make(kind)
    out = layer(x)
    index = torch.randperm(positions(layer, x, out), generator=generator())[:20]
    rows = input_rows(layer, x, index, out.shape)
    found = torch.einsum("sgk,gok->sgo", rows, weight_matrix(layer))
    without_bias = out if layer.bias is None else out - layer.bias.view(-1, *[1] * (0 if kind == "linear" else 2))
    assert torch.allclose(found, output_rows(layer, without_bias, index), atol=1e-5)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_scales_of_weights_are_the_best_of_all_candidates(kind, weighted):
    layer, x = make(kind)
    config = QuantConfig(weights=4, activations=16, candidates=30, shrinkage=0.0)
    sample, gradient = sample_of(layer, x, weighted)
    weights = gradient.square() + 0.01 * gradient.square().mean() if weighted else 1.0
    found = search_layer(layer, sample, (4, 16), config)
    assert found.entry == {"weights": 4, "inputs": None}
    assert set(found.tensors) == {"weight_scale"}
    axis = 1 if kind == "transposed" else 0
    channels = layer.weight.shape[axis]
    matrix = layer.weight.transpose(0, axis)
    base = matrix.flatten(1).abs().amax(1) / 8
    shape = [1] * layer.weight.ndim
    shape[axis] = channels
    errors = []
    for factor in candidates(config):
        rounded = quantized(layer, None)
        rounded.weight = nn.Parameter(
            fake_quantize(layer.weight, (base * factor).view(shape), -8, 7), requires_grad=False
        )
        error = (rounded(x) - layer(x)).square() * weights
        errors.append(error.flatten(0, 1).sum(0) if kind == "linear" else error.sum((0, 2, 3)))
    best = torch.stack(errors).argmin(0)
    assert torch.allclose(found.tensors["weight_scale"], base * torch.tensor(candidates(config))[best], rtol=1e-6)
    assert len(set(best.tolist())) > 1


@pytest.mark.parametrize("scheme", ["twin", "integer"])
def test_the_step_of_inputs_is_the_best_of_all_candidates(scheme):
    layer, x = make("linear")
    x = nn.functional.gelu(3 * x)
    config = QuantConfig(weights=16, activations=4, scheme=scheme, candidates=25, shrinkage=0.0)
    sample, gradient = sample_of(layer, x)
    found = search_layer(layer, sample, (16, 4), config)
    limits = input_range(float(x.min()), float(x.max()), 4, scheme)
    assert limits.style == {"twin": "twin", "integer": "affine"}[scheme]
    errors = []
    for factor in candidates(config):
        quantizer = limits.quantizer((factor, 1.0))
        error = layer(quantizer(x)) - layer(x)
        together = (error * gradient).sum(-1).square().sum()  # the channels of a position err together
        errors.append(float(together + 0.01 * gradient.square().mean() * error.square().sum()))
    best = limits.quantizer((candidates(config)[errors.index(min(errors))], 1.0))
    for name, value in best.state_dict().items():
        assert torch.equal(found.tensors[f"inputs.{name}"], value)


def test_no_position_decides_alone_where_scales_are_chosen():
    gradient = torch.randn(1, 400, 6, generator=generator())
    gradient[0, 7] *= 1000
    (steady,) = clipped([gradient], (0, 2), QuantConfig())
    length, usual = (g.square().sum((0, 2)).sqrt() for g in (steady, gradient))
    limit = 3 * usual.square().mean().sqrt()
    assert torch.allclose(length, usual.clamp(max=limit), rtol=1e-5)
    assert torch.allclose(steady[0, 7] / length[7], gradient[0, 7] / usual[7], rtol=1e-5)
    assert clipped([gradient, None], (0, 2), QuantConfig(shrinkage=0.0)) == [gradient, None]
    halves = clipped(list(gradient.split(150, dim=1)), (0, 2), QuantConfig())
    assert torch.allclose(torch.cat(halves, 1), steady)
    assert clipped([torch.zeros(1, 3, 2)], (0, 2), QuantConfig())[0].tolist() == torch.zeros(1, 3, 2).tolist()


def test_shrinkage_goes_from_the_draws_to_the_squared_error():
    layer, x = make("linear")
    sample, _ = sample_of(layer, x)
    plain, _ = sample_of(layer, x, weighted=False)

    def scales(sample, **settings):
        return search_layer(layer, sample, (3, 16), QuantConfig(activations=16, **settings)).tensors["weight_scale"]

    mse = scales(plain, metric="mse")
    different = [int((scales(sample, shrinkage=share) != mse).sum()) for share in (0.0, 1e6)]
    assert different[0] >= 4
    assert different[1] == 0


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "transposed"])
def test_chunks_of_inputs_follow_one_another(kind):
    """Each chunk's scales against brute force over all candidates, with the other chunks as they were found so far."""
    layer, x = make(kind)
    sample, _ = sample_of(layer, x, weighted=False)
    size = 1 if kind == "grouped" else 2
    config = QuantConfig(weights=3, activations=16, candidates=12, low=0.3, weight_group=size, rounds=1, metric="mse")
    found = search_layer(layer, sample, (3, 16), config)
    axis = 1 if kind == "transposed" else 0
    channels = layer.weight.shape[1 - axis]
    assert found.entry == {"weights": 3, "inputs": None, "group": size}
    assert found.tensors["weight_scale"].shape == (layer.weight.shape[axis], channels // size)
    parts = layer.weight.transpose(0, axis).abs().split(size, dim=1)
    scales = torch.stack([part.flatten(1).amax(1) for part in parts], 1) / 4
    base = scales.clone()

    def errors(scales):
        rounded = quantized(layer, None)
        weight = fake_quantize(layer.weight, along(scales, layer.weight, axis, size), -4, 3)
        rounded.weight = nn.Parameter(weight, requires_grad=False)
        error = (rounded(x) - layer(x)).square()
        return error.flatten(0, -2).sum(0) if kind == "linear" else error.sum((0, 2, 3))

    for chunk in range(scales.shape[1]):
        tried = []
        for factor in candidates(config):
            whole = scales.clone()
            whole[:, chunk] = base[:, chunk] * factor
            tried.append(errors(whole))
        best = torch.stack(tried).argmin(0)
        scales[:, chunk] = base[:, chunk] * torch.tensor(candidates(config))[best]
    assert torch.allclose(found.tensors["weight_scale"], scales, rtol=1e-5)
    one = search_layer(layer, sample, (3, 16), replace(config, weight_group=None))
    assert found.error < one.error
    alike = search_layer(layer, sample, (3, 16), replace(config, weight_group=channels))
    assert torch.equal(alike.tensors["weight_scale"], one.tensors["weight_scale"])
    assert "group" not in alike.entry


def test_the_last_chunk_may_have_fewer_inputs():
    layer, x = make("linear")
    sample, _ = sample_of(layer, x)
    found = search_layer(layer, sample, (4, 8), QuantConfig(weight_group=5, candidates=10, low=0.5))
    assert found.tensors["weight_scale"].shape == (7, 3)
    scales = along(found.tensors["weight_scale"], layer.weight, 0, 5)
    assert torch.equal(scales[:, 9], scales[:, 5])
    assert torch.equal(scales[:, 11], found.tensors["weight_scale"][:, 2])
    assert scales.shape == layer.weight.shape


def test_more_rounds_are_never_worse_and_more_bits_are_better():
    layer, x = make("linear")
    sample, _ = sample_of(layer, x)
    errors = {
        (bits, rounds): search_layer(layer, sample, (bits, bits), QuantConfig(rounds=rounds, shrinkage=0.0)).error
        for bits, rounds in itertools.product((3, 4, 6, 8), (1, 3))
    }
    for bits in (3, 4, 6, 8):
        assert errors[bits, 3] <= errors[bits, 1]
    assert errors[8, 3] < errors[6, 3] / 4 < errors[4, 3] / 16


def test_searching_beats_the_largest_value():
    layer, x = make("linear")
    x[0, 0, 0] = 30  # an outlier
    sample, _ = sample_of(layer, x)

    def error(metric):
        return search_layer(layer, sample, (8, 6), QuantConfig(metric=metric)).error

    assert error("hessian") < error("minmax")
    assert error("mse") < error("minmax")


def test_dead_channels_and_inputs():
    layer = nn.Linear(4, 3).requires_grad_(False)
    layer.weight[1] = 0
    sample = MatrixSample(torch.zeros(1, 9, 4), torch.ones(1, 9, 3), Seen(((0.0, 0.0),), 1.0, 1.0))
    found = search_layer(layer, sample, (8, 8), QuantConfig())
    assert all(bool((value > 0).all()) for value in found.tensors.values())
    assert found.error == 0.0


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_zero_points_are_whole_and_fit_in_the_integers(bits):
    levels = 2 ** (bits - 1)
    for low, high in [(-0.17, 5.0), (0.0, 3.0), (-7.0, 0.1), (-1e-3, 1e3), (-3.0, 1.0), (2.0, 3.0), (-3.0, -2.0)]:
        limits = input_range(low, high, bits, "integer")
        for factors in itertools.product((0.01, 0.37, 1.0, 1.2), repeat=2):
            quantizer = limits.quantizer(factors)
            assert limits.style == "affine"
            zero_point = -(quantizer.offset / quantizer.scale).round()
            assert torch.equal(zero_point * quantizer.scale, -quantizer.offset)
            assert -levels <= float(zero_point) <= levels - 1
            assert quantizer(torch.zeros(3)).tolist() == [0, 0, 0]  # as convolutions pad
    assert input_range(-1.0, 1.1, bits, "integer").style == "symmetric"
    assert input_range(-0.1, 5.0, bits, "twin").style == "twin"
    assert input_range(-0.18, 5.0, bits, "twin").style == "symmetric"
    assert input_range(0.0, 5.0, bits, "twin").style == "symmetric"


def test_two_ranges_are_better_than_one_after_gelu():
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 8).requires_grad_(False), nn.functional.gelu(1.5 * torch.randn(400, 16) - 1)
    sample, _ = sample_of(layer, x, weighted=False)
    twin = search_layer(layer, sample, (16, 4), QuantConfig(scheme="twin"))
    assert "inputs.negative_scale" in twin.tensors
    single = []
    for factor in candidates(QuantConfig()):
        quantizer = InputQuantizer(torch.tensor([factor * float(x.max()) / 8]), 4)
        out = layer(x) - layer.bias
        single.append(float((layer(quantizer(x)) - layer(x)).square().sum() / out.square().sum()))
    assert twin.error < 0.8 * min(single)


def attention(seed=0, bias=True):
    g = generator(seed)
    q, k, v = (torch.randn(6, count, width, generator=g) for count, width in ((5, 8), (40, 8), (40, 12)))
    added = torch.randn(6, 5, 40, generator=g) if bias else None
    gradients = torch.randn(6, 5, 12, generator=g), torch.randn(6, 12, generator=g)
    return AttentionSample(3 * q, k, v, added, 0.35, *gradients)


def seen(*tensors):
    return Seen(tuple((float(t.min()), float(t.max())) for t in tensors), 2.0, 3.0)


@pytest.mark.parametrize("bias", [True, False])
def test_attention(bias):
    sample = attention(bias=bias)
    limits = seen(sample.queries, sample.keys, sample.values)
    results = {bits: search_attention([sample], limits, bits, QuantConfig(candidates=40)) for bits in (4, 6, 8)}
    assert results[8].error < results[6].error / 4 < results[4].error / 16
    found = results[6]
    assert found.entry == dict.fromkeys(("queries", "keys", "probabilities", "values"), 6)
    made = QuantizedAttention(
        *(InputQuantizer(found.tensors[f"{name}.scale"], 6) for name in ("queries", "keys")),
        ProbabilityQuantizer(found.tensors["probabilities.split"], 6),
        InputQuantizer(found.tensors["values.scale"], 6),
    )
    exact = QuantizedAttention(None, None, None, None)
    arguments = (sample.queries, sample.keys, sample.values, sample.scale, sample.bias)
    floor = 0.01 * sample.gradient.square().mean()
    weights, error = sample.gradient.square() + floor, made(*arguments) - exact(*arguments)
    ratio = (error.square() * weights).sum() / (exact(*arguments).square() * weights).sum()
    assert float(ratio) == pytest.approx(found.error, rel=1e-4)
    together = (error * sample.gradient).sum(-1).square().sum() + floor * error.square().sum()
    together += (error.mean(1) * sample.gradient_sum).sum(-1).square().sum()  # what all queries of a head share
    assert found.loss == pytest.approx(0.5 * float(together) * 2.0, rel=1e-4)


def test_two_ranges_are_better_than_one_after_softmax():
    sample = attention()
    found = search_attention(
        [sample], seen(sample.queries, sample.keys, sample.values), 4, QuantConfig(activations=4)
    ).tensors["probabilities.split"]
    weights = (sample.queries @ sample.keys.transpose(1, 2) * sample.scale + sample.bias).softmax(-1)
    plain = (weights * 8).round().clamp(max=7) / 8
    twin = ProbabilityQuantizer(found, 4)(weights)
    assert 0 < float(found) < 0.5
    assert (twin - weights).square().sum() < 0.5 * (plain - weights).square().sum()


@pytest.mark.parametrize(("bits", "per_octave"), [(4, 1.0), (4, 2.0), (3, 1.0), (8, 16.0)])
def test_levels_of_equal_ratio(bits, per_octave):
    quantizer = LogQuantizer(torch.tensor(per_octave), bits)
    levels = torch.tensor([2 ** (-k / per_octave) for k in range(2**bits - 1)])
    assert torch.allclose(quantizer(levels), levels, rtol=1e-5)
    assert quantizer(torch.zeros(2)).tolist() == [0, 0]
    x = torch.rand(5000, generator=generator()) ** 6
    rounded = quantizer(x)
    assert len(rounded.unique()) <= 2**bits
    inside = x >= levels[-1]
    nearest = (x[inside, None].log2() - levels.log2()).abs().amin(1)
    assert torch.allclose((rounded / x)[inside].log2().abs(), nearest, atol=1e-4)
    below = x < levels[-1] * 2 ** (-0.51 / per_octave)
    assert bool((rounded[below] == 0).all())
    assert bool(below.any())


def test_the_levels_an_octave_are_the_best_of_all():
    g = generator()
    q, k, v = (torch.randn(4, count, 8, generator=g) for count in (30, 200, 200))
    sample = AttentionSample(6 * q, k, v, None, 0.35, None)
    limits = seen(sample.queries, sample.keys, sample.values)
    config = QuantConfig(scheme="log", metric="mse", candidates=30, rounds=1)
    found = search_attention([sample], limits, 4, config).tensors
    assert "probabilities.split" not in found
    queries, keys = (InputQuantizer(found[f"{name}.scale"], 4) for name in ("queries", "keys"))
    values = InputQuantizer(v.abs().max().view(1) / 8, 4)  # what it was when the levels were chosen
    exact = QuantizedAttention(None, None, None, None)(sample.queries, k, v, 0.35)
    errors = {}
    for per_octave in (1.0, 2.0, 4.0):
        made = QuantizedAttention(queries, keys, LogQuantizer(torch.tensor(per_octave), 4), values)
        errors[per_octave] = float((made(sample.queries, k, v, 0.35) - exact).square().sum())
    assert float(found["probabilities.per_octave"]) == min(errors, key=errors.get)
    assert len(set(errors.values())) == 3


def test_splitting_samples_changes_nothing():
    sample = attention()
    limits = seen(sample.queries, sample.keys, sample.values)
    names = ("queries", "keys", "values", "bias", "gradient", "gradient_sum")
    halves = [
        AttentionSample(**{name: getattr(sample, name)[part] for name in names}, scale=sample.scale)
        for part in (slice(0, 2), slice(2, None))
    ]
    whole, split = (search_attention(s, limits, 5, QuantConfig(candidates=30)) for s in ([sample], halves))
    assert all(torch.equal(whole.tensors[name], split.tensors[name]) for name in whole.tensors)


def test_the_product_of_masks():
    g = generator()
    left, right = torch.randn(2, 4, 8, generator=g), nn.functional.gelu(2 * torch.randn(2, 8, 50, generator=g))
    sample = ProductSample(left, right, None)
    errors = [search_product([sample], seen(left, right), bits, QuantConfig()).error for bits in (4, 6, 8)]
    assert errors == sorted(errors, reverse=True)
    found = search_product([sample], seen(left, right), 8, QuantConfig())
    assert set(found.tensors) == {"left.balance", "left.share", "right.scale", "right.negative_scale"}
    assert found.entry == {"left": 8, "right": 8}


def test_channels_of_the_product_of_masks_are_balanced():
    """Large on the left where small on the right, and masks a hundred times as large as others."""
    g = generator()
    size = torch.logspace(0, 2, 8)
    left = torch.randn(2, 4, 8, generator=g) * size * torch.tensor([1.0, 10.0, 100.0, 1.0])[:, None]
    right = nn.functional.gelu(2 * torch.randn(2, 8, 50, generator=g)) / size[:, None]
    found = search_product([ProductSample(left, right, None)], seen(left, right), 8, QuantConfig(metric="minmax"))
    ratio = found.tensors["right.scale"] / found.tensors["left.balance"]
    assert torch.allclose(ratio, ratio[:1].expand(8), rtol=1e-5)
    made = QuantizedProduct(
        RowQuantizer(found.tensors["left.balance"], found.tensors["left.share"], 8),
        InputQuantizer(
            found.tensors["right.scale"], 8, axes_behind=1, negative_scale=found.tensors["right.negative_scale"]
        ),
    )
    target = left @ right
    errors = (made(left, right) - target).square().mean((0, 2)) / target.square().mean((0, 2))
    assert float(errors.max()) < 1e-3, "small masks are as exact as large ones"
    plain = QuantizedProduct(InputQuantizer(left.abs().max().view(1) / 128, 8), None)
    assert float(((plain(left, right) - target).square().mean((0, 2)) / target.square().mean((0, 2))).max()) > 1e-3


@pytest.mark.parametrize("metric", ["minmax", "percentile"])
def test_metrics_without_a_search(metric):
    layer, x = make("linear")
    sample, _ = sample_of(layer, x)
    found = search_layer(layer, sample, (8, 8), QuantConfig(metric=metric))
    assert torch.equal(found.tensors["weight_scale"], layer.weight.abs().amax(1) / 128)
    limit = float(x.abs().max()) if metric == "minmax" else float(x.abs().quantile(0.9999))
    assert float(found.tensors["inputs.scale"]) == pytest.approx(limit / 128, rel=1e-2)
    heads = attention()
    found = search_attention([heads], seen(heads.queries, heads.keys, heads.values), 8, QuantConfig(metric=metric))
    assert found.error < 0.01


class Loss:
    def __init__(self, loss, macs):
        self.loss, self.macs = loss, macs


def test_widths_go_where_they_save_most():
    found = {
        "tender": {4: Loss(100.0, 10.0), 6: Loss(10.0, 10.0), 8: Loss(1.0, 10.0)},
        "tough": {4: Loss(1.0, 10.0), 6: Loss(0.1, 10.0), 8: Loss(0.01, 10.0)},
        "large": {4: Loss(100.0, 1000.0), 6: Loss(10.0, 1000.0), 8: Loss(1.0, 1000.0)},
    }
    assert choose_widths(found, 4) == {"tender": 4, "tough": 4, "large": 4}
    assert choose_widths(found, 8) == {"tender": 8, "tough": 8, "large": 8}
    assert choose_widths(found, 4.04) == {"tender": 8, "tough": 4, "large": 4}
    chosen = choose_widths(found, 6.0)
    assert chosen["tender"] == 8
    for budget in (4.0, 4.5, 5.0, 6.0, 7.3, 8.0):
        chosen = choose_widths(found, budget)
        assert sum(chosen[name] * found[name][4].macs for name in found) <= budget * 1020
