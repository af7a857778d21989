"""Scores and selection."""

from __future__ import annotations

import pytest
import torch

from samlet.models import ChannelGroup, Member, build_encoder
from samlet.slimming.importance import channel_scores, disturbed_taylor
from samlet.slimming.selection import select_global, select_uniform
from samlet.zoo import find
from tests.conftest import make_tiny, make_vit


def test_scores_sum_rows_and_heads_and_average_members():
    group = ChannelGroup(
        name="g",
        kind="bottleneck",
        family="attention",
        size=2,
        divisor=1,
        members=(Member(parameter="a", dim=0, copies=2, step=2), Member(parameter="b", dim=1)),
        config_path=("x",),
    )
    values = {"a": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]), "b": torch.tensor([[10.0, 20.0]])}
    expected = torch.tensor([(2 + 6 + 10) / 2, (4 + 8 + 20) / 2], dtype=torch.float64)
    assert torch.equal(channel_scores(values, [group])["g"], expected)


@pytest.mark.parametrize(("ratio", "embedding", "inner", "mlp"), [(0.5, 384, 384, 1536), (0.77, 168, 168, 696)])
def test_published_widths_of_vit_b(ratio, embedding, inner, mlp):
    with torch.device("meta"):
        encoder = build_encoder(find("sam_vit_b").sam_config().encoder)
    groups = encoder.channel_groups()
    kept = select_uniform(groups, {g.name: torch.rand(g.size) for g in groups}, ratio)
    assert len(kept["embedding"]) == embedding
    assert {12 * len(kept[f"blocks.{i}.attn.{part}"]) for i in range(12) for part in ("qk", "v")} == {inner}
    assert {len(kept[f"blocks.{i}.mlp"]) for i in range(12)} == {mlp}


def test_the_highest_scores_stay_in_order():
    groups = [g for g in make_vit().image_encoder.channel_groups() if g.name == "blocks.0.mlp"]
    scores = torch.arange(96.0)
    scores[5] = 1000
    kept = select_uniform(groups, {"blocks.0.mlp": scores}, 0.5)["blocks.0.mlp"]
    assert kept.tolist() == [5, *range(49, 96)]


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_global_selection_cuts_the_share_and_moves_width_between_blocks(ratio):
    groups = [g for g in make_vit().image_encoder.channel_groups() if g.kind == "bottleneck"]
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.size, generator=generator) ** (1 + 8 * (i % 3)) for i, g in enumerate(groups)}
    kept = select_global(groups, scores, ratio)
    for family in ("attention", "mlp"):
        members = [g for g in groups if g.family == family]
        share = sum(len(kept[g.name]) for g in members) / sum(g.size for g in members)
        assert abs(share - (1 - ratio)) < 0.15
    assert all(len(kept[g.name]) % g.divisor == 0 for g in groups)
    uniform = select_uniform(groups, scores, ratio)
    assert any(len(kept[g.name]) != len(uniform[g.name]) for g in groups)
    raised = {name: 7 + 100 * score for name, score in scores.items()}
    again = select_global(groups, raised, ratio)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize("make", [make_vit, make_tiny])
def test_disturbed_taylor_sees_dead_channels_needs_no_label_and_changes_no_weight(make):
    encoder = make().image_encoder
    group = next(g for g in encoder.channel_groups() if g.family == "mlp")
    parameters = dict(encoder.named_parameters())
    dead = torch.tensor([1, 4])
    with torch.no_grad():
        for member in group.members:
            parameters[member.parameter].index_fill_(member.dim, member.index(dead).flatten(), 0)
    before = {name: p.clone() for name, p in parameters.items()}
    images = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    scores = disturbed_taylor(encoder, images, [group], seed=0)[group.name]
    assert (scores[dead] == 0).all()
    assert (scores > 0).sum() == group.size - 2
    assert torch.equal(scores, disturbed_taylor(encoder, images, [group], seed=0)[group.name])
    assert not torch.equal(scores, disturbed_taylor(encoder, images, [group], seed=1)[group.name])
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in encoder.named_parameters())
