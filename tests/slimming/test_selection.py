"""Scores and selection."""

from __future__ import annotations

import pytest
import torch

import samlet
from samlet.models import ViTConfig, build_encoder
from samlet.slimming.config import SELECTIONS
from samlet.slimming.selection import (
    check_ratio,
    ratio_inside_heads,
    select_global,
    select_heads,
    select_uniform,
)
from samlet.slimming.surgery import cut_encoder
from samlet.zoo import find
from tests.conftest import make_tiny, make_vit


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


@pytest.mark.parametrize("name", [name for name in SELECTIONS if name != "uniform"])
def test_normalisations_are_the_papers_and_ignore_the_scale(name):
    groups = [g for g in make_vit().image_encoder.channel_groups() if g.family == "mlp"]
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: (i + 1) * torch.rand(g.size, generator=generator).double() ** 3 for i, g in enumerate(groups)}
    by_hand = {
        "gaussian": lambda v: (v - v.mean()) / v.std(correction=0),
        "mean": lambda v: v / v.mean(),
        "max": lambda v: v / v.max(),
        "sum": lambda v: v / v.sum(),
        "standardization": lambda v: (v - v.min()) / (v.max() - v.min()),
    }[name]
    kept = select_global(groups, scores, 0.5, name)
    normalised = {g.name: by_hand(scores[g.name]) for g in groups}
    threshold = torch.cat(list(normalised.values())).median()
    for group in groups:
        wanted = int((normalised[group.name] > threshold).sum())
        assert abs(len(kept[group.name]) - min(max(wanted, group.divisor), group.size)) <= group.divisor / 2 + 1
    tiny = {name: 1e-13 * score for name, score in scores.items()}
    again = select_global(groups, tiny, 0.5, name)
    assert all(torch.equal(kept[g.name], again[g.name]) for g in groups)
    silent = select_global(groups, {g.name: torch.zeros(g.size) for g in groups}, 0.5, name)
    assert all(len(silent[g.name]) >= g.divisor for g in groups)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.77, 0.9])
def test_whole_heads_go_and_the_rest_is_cut_inside(selection, ratio):
    config = ViTConfig.uniform(embed_dim=96, depth=12, num_heads=12, global_blocks=(2, 5), head_dim=64, image_size=64)
    encoder = build_encoder(config)
    heads = [g for g in encoder.channel_groups() if g.kind == "head"]
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.size, generator=generator) for g in heads}
    kept = select_heads(heads, scores, ratio, selection)
    counts = [len(kept[g.name]) for g in heads]
    assert min(counts) >= 1
    assert sum(counts) >= 144 * (1 - ratio) - 1e-6
    assert sum(counts) < 144 * (1 - ratio) + len(heads)
    left = [g for g in cut_encoder(encoder, kept).channel_groups() if g.kind == "head"]
    assert [g.size for g in left] == counts
    inside = ratio_inside_heads(heads, left, ratio)
    assert sum(counts) * 64 * (1 - inside) == pytest.approx(144 * 64 * (1 - ratio))


def test_a_head_that_is_cut_takes_its_rows_and_bias_table_along():
    encoder = make_tiny().image_encoder
    before = encoder.layers[2].blocks[1].attn
    cut = cut_encoder(encoder, {"layers.2.blocks.1.attn.heads": torch.tensor([0, 2])})
    after = cut.layers[2].blocks[1].attn
    assert torch.equal(after.attention_biases, before.attention_biases[[0, 2]])
    width = 2 * before.qk_dim + before.v_dim
    rows = torch.cat([torch.arange(width), torch.arange(2 * width, 3 * width)])
    assert torch.equal(after.qkv.weight, before.qkv.weight[rows])
    assert cut.config.num_heads[1] == (2, 2)


def test_relative_positions_stay_with_the_embedding_and_are_cut_with_the_bottleneck():
    encoder = make_vit().image_encoder
    stream = next(g for g in encoder.channel_groups() if g.kind == "embedding")
    thin = cut_encoder(encoder, {stream.name: torch.arange(24)})
    inner = cut_encoder(encoder, {"blocks.1.attn.qk": torch.tensor([0, 3, 4, 9])})
    for axis in ("rel_pos_h", "rel_pos_w"):
        table = getattr(encoder.blocks[1].attn, axis)
        assert torch.equal(getattr(thin.blocks[1].attn, axis), table)
        assert torch.equal(getattr(inner.blocks[1].attn, axis), table[:, [0, 3, 4, 9]])
    assert inner.blocks[1].attn.scale == encoder.blocks[1].attn.scale == 16**-0.5


def test_a_ratio_that_leaves_nothing_is_refused_with_the_largest_that_works():
    groups = [g for g in make_tiny().image_encoder.channel_groups() if g.kind == "embedding"]
    check_ratio(groups, 0.75)
    with pytest.raises(samlet.InputError, match=r"nothing of embedding.0, which has 16 channels .* at most 0.75"):
        check_ratio(groups, 0.76)
    scores = {g.name: torch.rand(g.size) for g in groups}
    assert [len(kept) for kept in select_uniform(groups, scores, 0.6).values()] == [8, 8, 16, 16]
