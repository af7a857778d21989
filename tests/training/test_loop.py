"""The training loop, its photographs, its schedules and its log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import samlet
from samlet.data.images import find_images
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.distributed import DistributedContext
from samlet.runs.log import RunLog, read_log
from samlet.training.batches import ImageDataset
from samlet.training.loop import LoopConfig, Stage, _schedule, train

ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


@pytest.fixture
def photographs(photo_folder) -> ImageDataset:
    return ImageDataset(find_images(photo_folder), 16, ZERO, 255 * ONE)


class Brightness(nn.Module):
    """Learns the mean of an image's colours."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, 1)

    def forward(self, images):
        return (self.linear(images.mean(dim=(2, 3))) - images.mean(dim=(1, 2, 3))[:, None]).square().mean()


def go(model, photographs, log=None, validate=None, checkpoints=None, **settings):
    config = LoopConfig(**{"steps": 6, "learning_rate": 0.05, **settings})
    stage = Stage(name="test", checkpoints=checkpoints)
    return train(DistributedContext(), model, lambda m, _, x, __: m(x), photographs, config, stage, log, validate)


def test_it_learns_and_counts(photographs):
    result = go(Brightness(), photographs, steps=60)
    assert np.mean(result.losses[-5:]) < 0.1 * result.losses[0]
    assert (len(result.losses), result.images) == (60, 240)


@pytest.mark.parametrize("micro_batch", [2, 4])
def test_accumulated_batches_equal_larger_ones(photographs, micro_batch):
    models = [Brightness(), Brightness()]
    losses = [go(m, photographs, micro_batch=size).losses for m, size in zip(models, (1, micro_batch), strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch.allclose(models[0].linear.weight, models[1].linear.weight, atol=1e-5)


def test_a_loss_that_is_no_number_names_the_step(photographs):
    model = Brightness()
    config = LoopConfig(steps=6, learning_rate=0.1)
    with pytest.raises(samlet.SamletError, match=r"became nan at step 1 of 6"):
        train(
            DistributedContext(),
            model,
            lambda m, _, x, __: m(x) * float("nan"),
            photographs,
            config,
            Stage(name="test"),
        )


def test_a_plateau_halves_the_rate_after_so_many_epochs_without_gain(photographs):
    log = RunLog(None)
    errors = iter([1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    go(
        Brightness(),
        photographs,
        log,
        lambda: {"error": next(errors)},
        steps=7,
        schedule="plateau",
        patience=4,
        validate_every=1,
        learning_rate=0.1,
    )
    rates = log.values("test", "learning_rate")[1]
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05]  # 0.9 has not improved in the 3rd, 4th, 5th and 6th


@pytest.mark.parametrize(("steps", "warmup"), [(60, 0.1), (9, 0.3), (5000, 0.05)])
def test_the_schedule_is_that_of_torchs_own_in_sequence(steps, warmup):
    rising = max(1, min(round(warmup * steps), 200))
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = torch.optim.lr_scheduler.LinearLR(adam, 1 / rising, total_iters=rising - 1) if rising > 1 else None
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps - rising + 1)
    theirs = cosine
    if linear is not None:
        theirs = torch.optim.lr_scheduler.SequentialLR(adam, [linear, cosine], [rising - 1])
    config = LoopConfig(steps=steps, learning_rate=1.0, warmup=warmup)
    for step in range(1, steps + 1):
        assert _schedule(step, config) == pytest.approx(adam.param_groups[0]["lr"], abs=1e-9), step
        adam.step()
        theirs.step()


def test_cosine_rises_and_falls_and_constant_stays(photographs):
    logs = {name: RunLog(None) for name in ("cosine", "constant")}
    for name, log in logs.items():
        go(Brightness(), photographs, log, steps=20, schedule=name, learning_rate=0.1, warmup=0.2)
    cosine, constant = (log.values("test", "learning_rate")[1] for log in logs.values())
    assert cosine[:4] == constant[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert constant[4:] == [0.1] * 16
    assert cosine[4:] == sorted(cosine[4:], reverse=True)
    assert cosine[-1] < 0.01


def test_a_plateau_is_remembered_by_checkpoints(photographs, tmp_path):
    settings = {"schedule": "plateau", "patience": 1, "validate_every": 1, "checkpoint_every": 1, "steps": 4}
    folder, answers = CheckpointFolder(tmp_path), iter([1.0, 1.0])

    def stopped():
        try:
            return {"error": next(answers)}
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        go(Brightness(), photographs, None, stopped, folder, **settings)
    logs = [RunLog(None), RunLog(None)]
    go(Brightness(seed=9), photographs, logs[0], lambda: {"error": 1.0}, folder, **settings)
    go(Brightness(), photographs, logs[1], lambda: {"error": 1.0}, **settings)
    resumed, whole = (log.values("test", "learning_rate")[1] for log in logs)
    assert resumed == whole[2:] == [0.025, 0.0125]


def test_what_stands_at_a_position_depends_on_nothing_else(photo_folder):
    def at(position, seed=0, augment=True, first=None):
        source = ImageDataset(find_images(photo_folder), 64, ZERO, ONE, seed, augment)
        if first is not None:
            source.at(first)
        return source.at(position).image

    assert torch.equal(at(11), at(11, first=3))
    assert not torch.equal(at(11), at(11, seed=1))
    assert not torch.equal(at(11), at(11, augment=False))
    source = ImageDataset(find_images(photo_folder), 64, ZERO, ONE)
    for epoch in (0, 1):
        assert {source.path_at(6 * epoch + i) for i in range(6)} == set(source.paths)
    assert [source.path_at(i) for i in range(6)] != [source.path_at(i) for i in range(6, 12)]
    assert [p.path for p in source.stream(range(9))] == [source.path_at(i) for i in range(9)]


def test_an_unusable_photograph_gives_way_to_the_next_and_is_named(photo_folder):
    (photo_folder / "broken.png").write_text("no picture")
    Image.new("RGB", (7, 9)).save(photo_folder / "dot.png")
    source = ImageDataset(find_images(photo_folder), 64, ZERO, ONE)
    seen = {photograph.path.name for photograph in source.stream(range(8))}
    assert seen == {f"{i}.png" for i in range(6)}
    reasons = {path.name: reason for path, reason in source.skipped.items()}
    assert reasons.keys() == {"broken.png", "dot.png"}
    assert "7x9 pixels, smaller than a patch; expected at least 16" in reasons["dot.png"]
    fresh = ImageDataset(find_images(photo_folder), 64, ZERO, ONE)
    assert all(fresh.at(i).path == source.path_at(i) for i in range(8))


def test_a_sample_is_random_and_bounded(photo_folder):
    paths = find_images(photo_folder)
    source = ImageDataset(paths, 64, ZERO, ONE)
    assert len(list(source.sample(4))) == 4
    assert len(list(source.sample(99))) == 6
    other = ImageDataset(paths, 64, ZERO, ONE, seed=3)
    assert [p.path for p in source.sample(6)] != [p.path for p in other.sample(6)]


def test_a_folder_of_broken_files_says_so(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_text("no picture")
    source = ImageDataset(find_images(tmp_path), 64, ZERO, ONE)
    with pytest.raises(samlet.InputError, match="none of the 3 images can be used"):
        next(source.stream(range(4)))


def test_the_log_is_for_people_machines_and_tensorboard(tmp_path, photographs):
    log = RunLog(tmp_path)
    result = go(Brightness(), photographs, log, lambda: {"error": 0.5})
    log.close()
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["loss"] for line in lines] == result.losses
    assert lines[-1]["validation_error"] == 0.5
    assert {"learning_rate", "images_per_second", "gradient_norm"} <= lines[0].keys()
    events = next((tmp_path / "tensorboard").glob("events*")).read_bytes()
    assert events.count(b"test/loss") == 6


def test_a_log_cut_short_by_a_kill_is_read_and_rewound(tmp_path):
    lines = [{"stage": "a", "step": step, "loss": 1.0} for step in (1, 2, 3)] + [{"stage": "b", "step": 1, "loss": 2.0}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "b", "st')
    log = RunLog(tmp_path)
    assert log.lines == lines
    log.rewind("a", 3)
    log.rewind("b", 0)
    assert read_log(path) == lines[:3]
    log.rewind("a", 1)
    assert read_log(path) == lines[:1]


def test_checkpoints_keep_the_newest_two(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert folder.newest() is None
    for step in (1, 5, 12):
        folder.save(step, {"w": torch.full((3,), float(step))}, {"note": step})
    newest = folder.newest()
    assert (newest.step, newest.state, newest.tensors["w"].tolist()) == (12, {"note": 12}, [12.0] * 3)
    assert folder.steps() == [5, 12]
    assert len(list(Path(tmp_path).iterdir())) == 4
    (tmp_path / "step-0000012.json").write_text('{"step": 12')
    assert folder.newest().step == 5
    assert "step-0000012" in folder.damaged[0]
