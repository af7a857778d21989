"""The cache of the teacher's embeddings."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import samlet
from samlet.data.images import find_images
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.training.batches import FixedViews, ImageDataset
from samlet.training.embeddings import EmbeddingCache
from tests.conftest import make_tiny, make_vit

SETTINGS = {
    "steps": 4,
    "image_size": 64,
    "scoring_images": 1,
    "recovery_images": 2,
    "batch_size": 2,
    "augment": False,
}


def filled(folder, sam, photo_folder, count=6, encode=None):
    paths = find_images(photo_folder)
    photographs = ImageDataset(paths, 64, sam.pixel_mean, sam.pixel_std)
    cache = EmbeddingCache(folder, sam.fingerprint(), 64)
    calls = []

    def counting(images):
        calls.append(1)
        return sam.encode(images)

    cache.fill(photographs, paths[:count], encode or counting, DistributedContext())
    return cache, photographs, len(calls)


def test_every_photograph_is_encoded_once_and_comes_back_exactly(tmp_path, photo_folder):
    sam = make_tiny()
    cache, photographs, calls = filled(tmp_path, sam, photo_folder, 4)
    assert calls == 4
    cache, photographs, calls = filled(tmp_path, sam, photo_folder)
    assert calls == 2
    with torch.no_grad():
        for path in photographs.paths:
            image = photographs.prepare(photographs.read(path))
            assert torch.equal(cache.find(path), sam.encode(image[None])[0])


def test_another_teacher_or_a_changed_photograph_is_never_served(tmp_path, photo_folder):
    filled(tmp_path, make_tiny(0), photo_folder)
    assert filled(tmp_path, make_tiny(1), photo_folder)[2] == 6
    sam = make_tiny(0)
    first = find_images(photo_folder)[0]
    first.write_bytes(find_images(photo_folder)[1].read_bytes())
    cache, photographs, calls = filled(tmp_path, sam, photo_folder)
    assert calls == 0  # the content is known under another name
    assert torch.equal(cache.find(photographs.paths[0]), cache.find(photographs.paths[1]))


def test_damage_is_noticed(tmp_path, photo_folder):
    sam = make_tiny()
    cache, photographs, _ = filled(tmp_path, sam, photo_folder)
    shard = next(cache.folder.glob("*.npy"))
    rows = json.loads(shard.with_suffix(".json").read_text())["rows"]
    values = np.load(shard, mmap_mode="r+")
    values[0, 0, 0, 0] += 1
    values.flush()
    fresh, _, calls = filled(tmp_path, sam, photo_folder)
    assert calls == 1
    hurt = next(path for path in photographs.paths if fresh._digests[path] == rows[0][0])
    with torch.no_grad():
        assert torch.equal(fresh.find(hurt), sam.encode(photographs.prepare(photographs.read(hurt))[None])[0])
    for shard in cache.folder.glob("*.npy"):
        shard.write_bytes(shard.read_bytes()[:500])
    assert filled(tmp_path, sam, photo_folder)[2] == 6


@pytest.mark.parametrize("make", [make_tiny, make_vit])
def test_a_run_with_the_cache_gives_the_same_weights(tmp_path, photo_folder, make):
    sam = make()
    plain = run_slimming(sam, photo_folder, SlimConfig(**SETTINGS)).sam.state_dict()
    cached = run_slimming(sam, photo_folder, SlimConfig(**SETTINGS, cache=tmp_path)).sam.state_dict()
    assert all(torch.equal(value, cached[name]) for name, value in plain.items())


def test_the_cache_wants_photographs_as_they_are(tmp_path):
    with pytest.raises(samlet.InputError, match="changes them at random; turn that off"):
        SlimConfig(cache=tmp_path)


def test_fixed_views_come_in_turns_and_their_embeddings_are_kept(tmp_path, photo_folder):
    sam = make_tiny()
    mean, std, _ = sam.preprocessing
    paths = find_images(photo_folder)
    photographs = ImageDataset(paths, 64, mean, std, seed=5, augment=True, views=2)
    count = len(paths)
    first, second, third = (photographs.stream(range(count * i, count * (i + 1))) for i in range(3))
    epochs = [{(p.path, p.view): p.image for p in epoch} for epoch in (first, second, third)]
    assert [{view for _, view in epoch} for epoch in epochs] == [{0}, {1}, {0}]
    assert epochs[0].keys() == epochs[2].keys()
    assert all(torch.equal(image, epochs[2][key]) for key, image in epochs[0].items())
    assert not any(torch.equal(image, epochs[1][path, 1]) for (path, _), image in epochs[0].items())
    cache = EmbeddingCache(tmp_path / "cache", sam.fingerprint(), 64, half=True)
    keys = [(path, view) for path in paths for view in (0, 1)]
    cache.fill(FixedViews(photographs), keys, sam.encode, DistributedContext())
    for key, image in {**epochs[0], **epochs[1]}.items():
        with torch.no_grad():
            expected = sam.encode(image[None])[0]
        assert torch.equal(cache.find(key), expected.half().float())
    other_seed = FixedViews(ImageDataset(paths, 64, mean, std, seed=6, augment=True, views=2))
    assert other_seed.digest(keys[0]) != FixedViews(photographs).digest(keys[0])


def test_a_run_on_fixed_views_with_the_cache_is_that_without_up_to_half_precision(tmp_path, photo_folder):
    sam = make_tiny()
    settings = {**SETTINGS, "augment": True, "views": 2, "procedure": "one-step"}
    plain = run_slimming(sam, photo_folder, SlimConfig(**settings))
    cached = run_slimming(sam, photo_folder, SlimConfig(**settings, cache=tmp_path))
    losses = [made.stages["aligning"].losses for made in (plain, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] != losses[1]


def test_fixed_views_need_augmenting():
    with pytest.raises(samlet.InputError, match="views is 2 and augment is off"):
        SlimConfig(views=2, augment=False)
    with pytest.raises(samlet.InputError, match="views is 0; expected at least 1"):
        SlimConfig(views=0)
