"""Criteria: from gradients to scores."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.images import find_images
from samlet.data.masks import encode_rle
from samlet.evaluation.costs import count_encoder_macs
from samlet.models import ChannelGroup, Member, Sam, SamConfig, ViTConfig
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import CRITERIA, SlimConfig
from samlet.slimming.importance import (
    channel_scores,
    disturbed_gradients,
    disturbed_taylor,
    fisher_scores,
    score_weights,
)
from samlet.slimming.labels import labelled_sample, mask_loss
from samlet.slimming.scoring import Scorer
from samlet.slimming.surgery import cut_encoder, with_encoder
from samlet.training.batches import ImageDataset
from samlet.training.mask_losses import mask_loss as losses_of_masks
from tests.conftest import make_efficient, make_repvit, make_tiny, make_vit, needs_bf16, with_another_first_output

TIED = ChannelGroup(
    name="g",
    kind="bottleneck",
    family="attention",
    size=2,
    divisor=1,
    members=(Member(parameter="a", dim=0, copies=2, step=2), Member(parameter="b", dim=1)),
    config_path=("x",),
)
WEIGHTS = {"a": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]), "b": torch.tensor([[10.0, 20.0]])}


@pytest.fixture
def labelled(tmp_path):
    """Three pictures with a bright rectangle each, and its mask in SA-1B's layout."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for i in range(3):
        pixels, mask = np.full((48, 64, 3), 40, np.uint8), np.zeros((48, 64), bool)
        mask[8 : 30 + i, 10 : 40 + i] = True
        pixels[mask] = 220
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(mask)}]}))
    return folder


def scorer(sam, photo_folder, labels=None, engine=None, **settings) -> Scorer:
    sam.requires_grad_(False)
    photographs = ImageDataset(find_images(photo_folder), 64, sam.pixel_mean, sam.pixel_std)
    config = SlimConfig(scoring_images=3, **settings)
    return Scorer(
        teacher=sam, photographs=photographs, labels=labels, config=config, engine=engine or DistributedContext()
    )


def test_scores_sum_rows_and_heads_and_average_members():
    expected = torch.tensor([(2 + 6 + 10) / 2, (4 + 8 + 20) / 2], dtype=torch.float64)
    assert torch.equal(channel_scores(WEIGHTS, [TIED])["g"], expected)


def test_gradients_are_summed_over_images_before_they_are_scored():
    weights = {"w": torch.tensor([2.0, -3.0])}
    gradients = [{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([-1.0, 2.0])}]
    assert score_weights(weights, gradients)["w"].tolist() == [0, 9]


def test_fisher_squares_the_gradient_of_a_mask_on_the_channel():
    gradients = [{"a": torch.ones(4, 2), "b": torch.ones(1, 2)}, {"a": -torch.ones(4, 2), "b": torch.ones(1, 2)}]
    first, second = (np.array([(8 + 10) / 2, (12 + 20) / 2]), np.array([(-8 + 10) / 2, (-12 + 20) / 2]))
    assert fisher_scores(WEIGHTS, gradients, [TIED])["g"].tolist() == pytest.approx(list(first**2 + second**2))


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


def test_the_disturbed_gradient_is_that_of_eq_4():
    encoder = make_tiny().image_encoder.requires_grad_(True)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    parameters = {"neck.0.weight": encoder.get_parameter("neck.0.weight")}
    draws = list(disturbed_gradients(encoder, [(7, image), (8, image)], parameters, seed=3))
    for number, draw in enumerate(draws, 7):
        generator = torch.Generator().manual_seed(3 * 1_000_003 + number)
        embedding = encoder(image)
        noise = torch.randn(embedding.shape, generator=generator) * 0.01
        (embedding - (embedding + noise).detach()).square().mean().backward()
        assert torch.allclose(parameters["neck.0.weight"].grad, draw["neck.0.weight"], rtol=1e-3, atol=1e-12)
        encoder.zero_grad()
    assert not torch.equal(draws[0]["neck.0.weight"], draws[1]["neck.0.weight"])


@pytest.mark.parametrize("importance", CRITERIA)
@pytest.mark.parametrize("whole_heads", [False, True])
def test_every_criterion_chooses_on_every_encoder(small_sam, photo_folder, labelled, importance, whole_heads):
    labels = open_dataset(labelled) if importance == "taylor" else None
    chooser = scorer(small_sam, photo_folder, labels, importance=importance, whole_heads=whole_heads, ratio=0.5)
    encoder = small_sam.image_encoder
    kept = chooser.choose(encoder, ("embedding", "bottleneck"))
    kinds = {g.name: g.kind for g in encoder.channel_groups()}
    assert {kinds[name] for name in kept} == {"embedding", "bottleneck"} | ({"head"} if whole_heads else set())
    again = chooser.choose(encoder, ("embedding", "bottleneck"))
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert all(p.grad is None for p in encoder.parameters())


def test_an_encoder_without_heads_is_cut_by_a_ratio(photo_folder):
    sam = make_repvit()
    kept = scorer(sam, photo_folder, importance="disturbed-taylor", ratio=0.5).choose(
        sam.image_encoder, ("embedding", "bottleneck")
    )
    assert count_encoder_macs(with_encoder(sam, cut_encoder(sam.image_encoder, kept))).macs_modules < 0.6 * (
        count_encoder_macs(sam).macs_modules
    )


def test_criteria_differ(small_sam, photo_folder, labelled):
    groups = [g for g in small_sam.image_encoder.channel_groups() if g.family == "mlp"][:1]
    labels = open_dataset(labelled)
    orders = {
        name: tuple(
            scorer(small_sam, photo_folder, labels, importance=name)
            .scores(small_sam.image_encoder, groups)[groups[0].name]
            .argsort()
            .tolist()
        )
        for name in CRITERIA
    }
    assert len(set(orders.values())) == len(CRITERIA)


@needs_bf16
def test_scores_in_bfloat16_are_near_exact_ones(small_sam, photo_folder):
    groups = [g for g in small_sam.image_encoder.channel_groups() if g.kind == "bottleneck"]
    found = [
        scorer(small_sam, photo_folder, engine=DistributedContext("cpu", precision)).scores(
            small_sam.image_encoder, groups
        )
        for precision in ("fp32", "bf16")
    ]
    correlations = []
    for group in groups:
        both = torch.stack([scores[group.name] for scores in found])
        assert not torch.equal(*both)
        correlations.append(float(torch.corrcoef(both)[0, 1]))
    assert min(correlations) > 0.7
    assert np.mean(correlations) > 0.95


def test_labels_lower_their_loss_along_the_gradient(small_sam, labelled):
    """The labelled loss is a loss: a step down its gradient makes masks of the labelled pictures better."""
    sam = copy.deepcopy(small_sam)
    samples = list(labelled_sample(open_dataset(labelled), 2, 64, sam, seed=0))
    assert samples[0].masks.shape[-2:] == (16, 16)
    parameters = list(sam.image_encoder.neck.parameters())
    before = mask_loss(sam, samples[0])
    gradients = torch.autograd.grad(before, parameters)
    norm = sum(float(g.square().sum()) for g in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 1e-3 / norm * gradient
        assert mask_loss(sam, samples[0]) < before


def test_labels_teach_no_output_that_was_not_trained(labelled):
    sam = make_efficient()
    (sample,) = labelled_sample(open_dataset(labelled), 1, 64, sam, seed=0)
    loss = mask_loss(sam, sample)
    assert torch.equal(mask_loss(with_another_first_output(sam), sample), loss)
    with torch.no_grad():
        labels = torch.ones(len(sample.points), 1, dtype=torch.long)
        out = sam.decode(sam.encode(sample.image), sample.points, labels)
    best = out.low_res[torch.arange(len(out.iou)), 1 + out.iou[:, 1:].argmax(dim=1)]
    assert best.shape[-2:] == sample.extent  # the photograph is stretched over the whole input
    assert float(loss.detach()) == pytest.approx(float(losses_of_masks(best, sample.masks[:, 0]).mean()), rel=1e-5)
    parameters = list(sam.image_encoder.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    slope, step = sum(float(gradient.square().sum()) for gradient in gradients), 1e-4
    with torch.no_grad():
        around = []
        for sign in (1, -2):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter += sign * step / slope**0.5 * gradient
            around.append(float(mask_loss(sam, sample)))
    assert (around[0] - around[1]) / (2 * step) == pytest.approx(slope**0.5, rel=0.05)


def test_labels_without_masks_are_refused(small_sam, photo_folder):
    with pytest.raises(samlet.InputError, match="has no annotations"):
        next(labelled_sample(open_dataset(photo_folder), 2, 64, small_sam, seed=0))


def test_labels_may_lie_apart_from_their_photographs(labelled, tmp_path):
    apart = tmp_path / "apart"
    apart.mkdir()
    for path in labelled.glob("*.json"):
        path.rename(apart / path.name)
    dataset = open_dataset(apart, labelled)
    assert (dataset.size, dataset.kind) == (3, "sa1b")
    assert len(next(iter(dataset)).annotations) == 1
    with pytest.raises(samlet.InputError, match=r"holds no ID\.json"):
        open_dataset(tmp_path, labelled)


@pytest.mark.parametrize(("ratio", "stream", "head", "mlp"), [(0.5, 384, 32, 1536), (0.77, 168, 14, 696)])
def test_uniform_selection_gives_the_published_shapes(photo_folder, ratio, stream, head, mlp):
    encoder = ViTConfig.uniform(embed_dim=768, depth=2, num_heads=12, global_blocks=(1,), image_size=64)
    sam = Sam(SamConfig(encoder=encoder))
    chooser = scorer(sam, photo_folder, importance="magnitude", selection="uniform", ratio=ratio)
    cut = cut_encoder(sam.image_encoder, chooser.choose(sam.image_encoder, ("embedding", "bottleneck"))).config
    assert (cut.embed_dim, cut.num_heads, cut.mlp_dims) == (stream, (12, 12), (mlp, mlp))
    assert cut.qk_dims == cut.v_dims == (head, head)
    assert cut.scale_dim == 64


def test_half_the_channels_are_two_thirds_of_what_mobile_sam_computes(photo_folder):
    sam = samlet.load("mobile_sam")
    whole = sam.image_encoder
    kept = scorer(sam, photo_folder, importance="magnitude", ratio=0.5).choose(whole, ("embedding", "bottleneck"))
    cut = with_encoder(sam, cut_encoder(whole, kept))
    assert count_encoder_macs(cut).macs_modules <= 0.35 * count_encoder_macs(sam).macs_modules
