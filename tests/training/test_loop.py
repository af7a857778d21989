"""The training loop and its batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import samlet
from samlet.data.images import find_images
from samlet.training.batches import Photographs
from samlet.training.loop import LoopConfig, train

ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


def constant_batches(value):
    while True:
        yield torch.full((1, 2), value)


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(2, 1)


def test_it_learns_counts_and_reports_progress():
    model, seen = linear(), []

    def loss(batch, progress):
        seen.append(progress)
        return (model(batch) - 3).square().mean()

    result = train(model, loss, constant_batches(1.0), LoopConfig(steps=200, learning_rate=0.1), "test")
    assert result.losses[-1] < 1e-2 < result.losses[0]
    assert (len(result.losses), result.images) == (200, 200)
    assert seen[0] == 0
    assert max(seen) < 1
    assert seen == sorted(seen)


def test_accumulated_batches_equal_one_larger_batch():
    data = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    weights = []
    for parts, accumulate in (((data,), 1), (data.split(1), 4)):
        model = linear()
        train(
            model,
            lambda batch, _, model=model: model(batch).square().mean(),
            (part for _ in range(3) for part in parts),
            LoopConfig(steps=3, learning_rate=0.01, accumulate=accumulate),
            "test",
        )
        weights.append(model.weight.detach().clone())
    assert torch.allclose(*weights, atol=1e-6)


def test_a_loss_that_is_no_number_names_the_step():
    model = linear()
    with pytest.raises(samlet.SamletError, match=r"became nan at step 1 of 5"):
        train(
            model,
            lambda batch, _: model(batch).sum() * float("nan"),
            constant_batches(1.0),
            LoopConfig(steps=5, learning_rate=0.1),
            "test",
        )


def test_batches_repeat_with_the_seed_and_cover_the_folder(photo_folder):
    paths = find_images(photo_folder)

    def first(seed, augment=True):
        source = Photographs(paths, 64, ZERO, ONE)
        stream = source.shuffled(2, seed, augment)
        return torch.stack([next(stream) for _ in range(3)]), source

    batches, source = first(0)
    assert batches.shape == (3, 2, 3, 64, 64)
    assert source.seen == set(paths)
    assert torch.equal(first(0)[0], batches)
    assert not torch.equal(first(1)[0], batches)
    plain = first(0, augment=False)[0].flatten(0, 1)
    assert len({tuple(image.flatten()[:500].tolist()) for image in plain}) == 6


def test_a_sample_is_random_and_bounded(photo_folder):
    source = Photographs(find_images(photo_folder), 64, ZERO, ONE)
    assert len(list(source.sample(4, 0))) == 4
    assert len(list(source.sample(99, 0))) == 6
    assert not torch.equal(next(source.sample(1, 0)), next(source.sample(1, 3)))


def test_a_folder_of_broken_files_says_so(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_text("no picture")
    source = Photographs(find_images(tmp_path), 64, ZERO, ONE)
    with pytest.raises(samlet.InputError, match="none of the 3 images can be read"):
        next(source.shuffled(1, 0))
