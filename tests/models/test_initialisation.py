"""Weights drawn for training from scratch: variance is kept, and an untrained embedding depends on its image."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import samlet
from samlet.data.bundled import bundled_photographs
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.models import RepViTConfig, TinyViTConfig, ViTConfig, build_encoder
from samlet.models.encoders import initialise
from samlet.models.initialisation import Draw, Moments, after_gelu

VIT = ViTConfig.uniform(embed_dim=96, depth=8, num_heads=3, global_blocks=(1, 3, 5, 7), image_size=128)
CONFIGS = {"tiny_vit": TinyViTConfig(), "repvit": RepViTConfig(), "vit": VIT}


@pytest.fixture(scope="module")
def photographs():
    """Four at 128 px: (4, 3, 128, 128)."""
    mean, std = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1), torch.tensor([58.4, 57.1, 57.4]).view(3, 1, 1)
    return torch.stack([preprocess(read_image(path), 128, mean, std)[0] for path in bundled_photographs()[:4]])


def image_dependent_share(embedding):
    """Of the variance of (N, C, h, w): what differs between images at the same place and channel."""
    return float(embedding.var(dim=0, correction=0).mean() / embedding.var(correction=0))


@torch.no_grad()
def fresh_share(config, photographs, seed=0):
    encoder = build_encoder(config)
    initialise(encoder, seed)
    return image_dependent_share(encoder(photographs))


def test_a_fresh_embedding_depends_on_its_image_as_a_trained_one_does(photographs):
    """With PyTorch's own initialisation the share is 0.00000."""
    with torch.no_grad():
        trained = image_dependent_share(samlet.load("mobile_sam").encode(photographs))
        plain = image_dependent_share(build_encoder(TinyViTConfig())(photographs))
    assert 0.2 < trained < 0.6
    assert plain < 1e-4
    assert trained < fresh_share(TinyViTConfig(), photographs) < 2.5 * trained


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["repvit", "vit"])
def test_it_does_in_every_family(kind, seed, photographs):
    assert fresh_share(CONFIGS[kind], photographs, seed) > 0.4


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_stream_stays_of_one_order_through_depth(kind, photographs):
    """Deviation of the output of every block."""
    encoder, deviations = build_encoder(CONFIGS[kind]), []
    initialise(encoder)
    encoder.requires_grad_(False)
    for name in encoder.embedding_features():
        encoder.get_submodule(name).register_forward_hook(lambda _, __, out: deviations.append(float(out.std())))
    encoder(photographs)
    assert len(deviations) >= 8
    assert min(deviations) > 0.5
    assert max(deviations) < 20
    steps = [after / before for before, after in pairwise(deviations)]
    assert min(steps) > 0.5
    assert max(steps) < 4


def test_the_seed_decides_every_weight():
    def drawn(seed):
        encoder = build_encoder(VIT)
        initialise(encoder, seed)
        return torch.cat([p.detach().flatten() for p in encoder.parameters()])

    torch.manual_seed(7)
    first = drawn(1)
    torch.manual_seed(8)
    state = torch.random.get_rng_state()
    build_encoder(VIT)
    expected = torch.random.get_rng_state()
    torch.random.set_rng_state(state)
    assert torch.equal(first, drawn(1))
    assert torch.equal(torch.random.get_rng_state(), expected)  # building draws, initialising does not
    assert not torch.equal(first, drawn(2))


@pytest.mark.parametrize("before", [Moments(), Moments(0.4, 2.0), Moments(-1.0, 0.3)])
def test_moments_after_gelu(before):
    values = before.mean + math.sqrt(before.variance) * torch.randn(
        2_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    sampled = nn.functional.gelu(values)
    found = after_gelu(before)
    assert found.mean == pytest.approx(float(sampled.mean()), abs=3e-3)
    assert found.variance == pytest.approx(float(sampled.var()), rel=0.01)


@pytest.mark.parametrize("given", [Moments(), Moments(0.5, 0.3)])
@pytest.mark.parametrize(
    "layer", [nn.Conv2d(64, 200, 1), nn.Conv2d(16, 200, 3), nn.Linear(64, 200)], ids=["1x1", "3x3", "linear"]
)
def test_a_layer_takes_off_the_mean_and_gives_the_variance(layer, given):
    generator = torch.Generator().manual_seed(0)
    shape = (2000, 64) if isinstance(layer, nn.Linear) else (20, layer.in_channels, 12, 12)
    values = given.mean + math.sqrt(given.variance) * torch.randn(shape, generator=generator)
    with torch.no_grad():
        Draw(0).layer(layer, given, variance=2.0)
        output = layer(values)
    assert float(output.mean()) == pytest.approx(0, abs=0.05)
    assert float(output.var()) == pytest.approx(2, rel=0.15)


def test_a_depthwise_filter_passes_what_is_smooth():
    layer = nn.Conv2d(32, 32, 3, groups=32)
    with torch.no_grad():
        Draw(0).layer(layer, Moments(0.7, 0.25))
        output = layer(torch.full((1, 32, 5, 5), 0.7 + 0.5))  # one deviation above the mean
    assert torch.allclose(output, torch.ones_like(output), atol=1e-5)
    assert 0.1 < float(layer.weight.std()) < 2
