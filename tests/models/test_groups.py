"""Channel groups: keeping all is the identity; zeroed channels are cut channels, in every group of every family."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from samlet.models import ImageEncoder
from samlet.slimming.surgery import cut_encoder
from tests.conftest import flat, make_hiera, make_tiny, make_vit

IMAGE = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=[make_vit, make_tiny, make_hiera], ids=["vit", "tiny_vit", "hiera"])
def encoder(request) -> ImageEncoder:
    return request.param().image_encoder


def some_of(group, generator):
    count = max(group.divisor, group.size // 2 // group.divisor * group.divisor)
    return torch.randperm(group.size, generator=generator)[:count].sort().values


def zero(encoder, groups, kept):
    """The same encoder with the weights of all other channels set to zero."""
    zeroed = copy.deepcopy(encoder)
    parameters = dict(zeroed.named_parameters())
    with torch.no_grad():
        for group in groups:
            cut = [c for c in range(group.size) if c not in kept[group.name].tolist()]
            for member in group.members:
                index = member.index(torch.tensor(cut)).flatten()
                parameters[member.parameter].index_fill_(member.dim, index, 0)
    return zeroed


def test_every_parameter_but_the_necks_is_in_a_group(encoder):
    named = {member.parameter for group in encoder.channel_groups() for member in group.members}
    outside = {name for name, _ in encoder.named_parameters()} - named
    assert all(name.startswith("neck.") or name.endswith("attention_biases") for name in outside), outside


def test_group_names_are_unique_and_sizes_are_those_of_the_config(encoder):
    groups = encoder.channel_groups()
    assert len({group.name for group in groups}) == len(groups)
    parameters = dict(encoder.named_parameters())
    for group in groups:
        for member in group.members:
            assert int(member.index(torch.arange(group.size)).max()) < parameters[member.parameter].shape[member.dim]


def test_keeping_everything_is_the_identity(encoder):
    whole = cut_encoder(encoder, {g.name: torch.arange(g.size) for g in encoder.channel_groups()})
    assert whole.config == encoder.config
    with torch.no_grad():
        assert torch.equal(flat(whole(IMAGE)), flat(encoder(IMAGE)))


def test_zeroed_bottleneck_channels_equal_cut_ones(encoder):
    generator = torch.Generator().manual_seed(0)
    bottlenecks = [g for g in encoder.channel_groups() if g.kind == "bottleneck"]
    with torch.no_grad():
        before = flat(encoder(IMAGE))
        for group in [*[[g] for g in bottlenecks], bottlenecks]:
            kept = {g.name: some_of(g, generator) for g in group}
            cut, zeroed = flat(cut_encoder(encoder, kept)(IMAGE)), flat(zero(encoder, group, kept)(IMAGE))
            assert torch.allclose(cut, zeroed, atol=2e-5), [g.name for g in group]
            assert not torch.allclose(cut, before, atol=2e-5), f"{group[0].name} reaches nothing"


class KeptNorm(nn.Module):
    """A layer norm that sees only the channels that stay: what a norm over cut channels has to compute."""

    def __init__(self, norm: nn.LayerNorm, kept: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x):
        out = torch.zeros_like(x)
        weight, bias = self.norm.weight[self.kept], self.norm.bias[self.kept]
        out[..., self.kept] = F.layer_norm(x[..., self.kept], weight.shape, weight, bias, self.norm.eps)
        return out


def test_zeroed_embedding_channels_equal_cut_ones(encoder):
    """Exact where no norm spans the channels; where one does, its statistics are over the channels that stay."""
    generator = torch.Generator().manual_seed(0)
    streams = [g for g in encoder.channel_groups() if g.kind == "embedding"]
    with torch.no_grad():
        before = flat(encoder(IMAGE))
        for group in [*[[g] for g in streams], streams]:
            kept = {g.name: some_of(g, generator) for g in group}
            zeroed = zero(encoder, group, kept)
            for stream in group:
                for member in stream.members:
                    path = member.parameter.rsplit(".", 1)[0]
                    module = dict(zeroed.named_modules()).get(path)
                    if isinstance(module, nn.LayerNorm):
                        parent = zeroed.get_submodule(path.rsplit(".", 1)[0])
                        setattr(parent, path.rsplit(".", 1)[1], KeptNorm(module, kept[stream.name]))
            cut = flat(cut_encoder(encoder, kept)(IMAGE))
            assert torch.allclose(cut, flat(zeroed(IMAGE)), atol=2e-5), [g.name for g in group]
            assert not torch.allclose(cut, before, atol=2e-5)


def test_attention_scale_is_that_of_the_original_head(encoder):
    kept = {g.name: torch.arange(g.divisor) for g in encoder.channel_groups() if g.name.endswith(".qk")}
    cut = cut_encoder(encoder, kept)
    scales = {module.scale for module in cut.modules() if hasattr(module, "scale")}
    assert scales == {encoder.config.scale_dim**-0.5}


def test_relative_positions_keep_the_rows_of_the_kept_channels():
    encoder = make_vit().image_encoder
    kept = torch.tensor([0, 3, 5, 9])
    cut = cut_encoder(encoder, {"blocks.1.attn.qk": kept})
    assert torch.equal(cut.blocks[1].attn.rel_pos_h, encoder.blocks[1].attn.rel_pos_h[:, kept])
    assert torch.equal(cut.blocks[0].attn.rel_pos_h, encoder.blocks[0].attn.rel_pos_h)
