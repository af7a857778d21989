"""Closed-form recovery."""

from __future__ import annotations

import copy

import pytest
import torch

import samlet
from samlet.data.images import find_images
from samlet.slimming import reconstruction as recovery
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.selection import select_uniform
from samlet.slimming.surgery import cut_encoder
from samlet.training.batches import ImageDataset
from tests.conftest import PHOTOS, make_tiny, make_vit
from tests.runtimes.exporting import make_sam as make_repvit

IMAGES = torch.randn(24, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NEW = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["vit", "tiny_vit"])
def whole(request):
    return (make_vit if request.param == "vit" else make_tiny)().image_encoder.requires_grad_(False)


def cut(whole, kind):
    groups = [g for g in whole.channel_groups() if g.kind == kind]
    generator = torch.Generator().manual_seed(0)
    kept = select_uniform(groups, {g.name: torch.rand(g.size, generator=generator) for g in groups}, 0.5)
    return kept, cut_encoder(whole, kept).requires_grad_(False)


@pytest.mark.parametrize("kind", ["embedding", "bottleneck"])
def test_it_brings_real_weights_closer_on_photographs_not_seen(kind):
    sam = samlet.load("mobile_sam").requires_grad_(False)
    photographs = ImageDataset(find_images(PHOTOS), 64, sam.pixel_mean, sam.pixel_std)
    images = torch.stack([p.image for p in photographs.sample(11)])
    whole = sam.image_encoder
    kept, encoder = cut(whole, kind)
    with torch.no_grad():
        target = whole(images[:3])
        before = (encoder(images[:3]) - target).square().mean()
        reconstruct(encoder, whole, kept, images[3:])
        assert (encoder(images[:3]) - target).square().mean() < 0.6 * before


def test_nothing_cut_nothing_changed(whole):
    encoder = copy.deepcopy(whole)
    reconstruct(encoder, whole, {}, IMAGES)
    for name, parameter in encoder.named_parameters():
        assert torch.allclose(parameter, whole.get_parameter(name), atol=1e-4), name


def test_redundant_channels_are_made_up_for():
    """Where the cut channels are copies of kept ones, least squares finds the sum of their weights."""
    whole = make_vit().image_encoder.requires_grad_(False)
    mlp = whole.blocks[0].mlp
    mlp.lin1.weight[48:] = mlp.lin1.weight[:48]
    mlp.lin1.bias[48:] = mlp.lin1.bias[:48]
    kept = {"blocks.0.mlp": torch.arange(48)}
    encoder = cut_encoder(whole, kept).requires_grad_(False)
    images = torch.randn(24, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        target = whole(NEW)
        before = (encoder(NEW) - target).square().mean()
        reconstruct(encoder, whole, kept, images)
        assert (encoder(NEW) - target).square().mean() < 0.02 * before


def test_photographs_one_by_one_give_what_many_at_once_give(whole, monkeypatch):
    kept, encoder = cut(whole, "bottleneck")
    one_by_one = copy.deepcopy(encoder)
    reconstruct(encoder, whole, kept, IMAGES)
    monkeypatch.setattr(recovery, "_TOGETHER", 1)
    monkeypatch.setattr(recovery, "_FEW", 1)
    reconstruct(one_by_one, whole, kept, iter(IMAGES))
    with torch.no_grad():
        assert torch.allclose(encoder(NEW), one_by_one(NEW), atol=1e-4)


def test_a_layer_is_fitted_by_least_squares_to_what_it_gave_before():
    """The second layer of an MLP, whose inputs alone were cut, against ridge regression on all positions."""
    whole = make_vit().image_encoder.requires_grad_(False)
    kept = {"blocks.2.mlp": torch.arange(0, 120, 2)}
    encoder = cut_encoder(whole, kept).requires_grad_(False)
    before = encoder.blocks[2].mlp.lin2.weight.clone(), encoder.blocks[2].mlp.lin2.bias.clone()
    seen = {}
    whole.blocks[2].mlp.lin2.register_forward_hook(lambda _, x, y: seen.update(x=x[0], y=y))
    with torch.no_grad():
        whole(IMAGES)
        reconstruct(encoder, whole, kept, IMAGES)
    x = seen["x"].flatten(0, -2)[:, kept["blocks.2.mlp"]].double()
    y = seen["y"].flatten(0, -2).double() - x @ before[0].double().T - before[1]
    mean, shift = x.mean(0), y.mean(0)
    gram = (x - mean).T @ (x - mean)
    gram += recovery._RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    change = torch.linalg.solve(gram, (x - mean).T @ (y - shift)).T
    lin2 = encoder.blocks[2].mlp.lin2
    assert torch.allclose(lin2.weight, before[0] + change.float(), atol=1e-4)
    assert torch.allclose(lin2.bias, before[1] + (shift - change @ mean).float(), atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "tiny_vit", "repvit"])
def test_segments_are_the_encoder(family):
    make = {"vit": make_vit, "tiny_vit": make_tiny, "repvit": make_repvit}[family]
    encoder = make().image_encoder
    x = NEW
    with torch.no_grad():
        for segment in encoder.segments():
            x = segment.run(x)
        assert torch.equal(x, encoder(NEW))
    layers = [n for n, m in encoder.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    covered = [n for n in layers if any(n == p or n.startswith(f"{p}.") for s in encoder.segments() for p in s.modules)]
    assert covered == layers


def test_hooks_are_gone(whole):
    kept, encoder = cut(whole, "bottleneck")
    reconstruct(encoder, whole, kept, IMAGES[:1])
    for model in (encoder, whole):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
