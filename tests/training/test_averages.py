"""Moving averages of weights."""

from __future__ import annotations

import pytest
import torch

import samlet
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.folder import RunFolder
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.training.averages import WeightAverage
from samlet.training.loop import LoopConfig, _schedule
from tests.conftest import make_tiny

SETTINGS = {
    "image_size": 64,
    "scoring_images": 1,
    "recovery_images": 0,
    "batch_size": 2,
    "procedure": "one-step",
    "learning_rate": 1e-2,
    "schedule": "constant",
}


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_an_average_follows_at_its_pace():
    weight = torch.zeros(1)
    average = WeightAverage({"w": weight}, 0.5)
    seen = []
    for step in range(20):
        weight.fill_(float(step))
        average.update(step)
        seen.append(float(average.tensors()["average.w"]))
    expected = 0.0
    for step in range(20):
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    assert seen[-1] == pytest.approx(expected)
    assert 17 < seen[-1] < 19
    with average.in_place():
        assert float(weight) == pytest.approx(expected)
    assert float(weight) == 19
    average.take()
    assert float(weight) == pytest.approx(expected)


def test_a_run_keeps_the_average_of_its_weights(photo_folder, tmp_path):
    last, averaged = (
        run_slimming(make_tiny(), photo_folder, SlimConfig(**SETTINGS, steps=4, average=average))
        for average in (None, 0.9)
    )
    assert not same(last.sam, averaged.sam)
    assert last.stages["aligning"].losses == averaged.stages["aligning"].losses, "what is trained is the same"
    workspace = RunFolder(tmp_path / "run")
    run_slimming(make_tiny(), photo_folder, SlimConfig(**SETTINGS, steps=4, average=0.9), workspace=workspace)
    newest = CheckpointFolder(tmp_path / "run" / "run" / "checkpoints" / "aligning").newest()
    name = "student.neck.0.weight"
    kept = next(key for key in newest.tensors if key.startswith("average.") and key.endswith("neck.0.weight"))
    assert torch.equal(newest.tensors[kept], averaged.sam.image_encoder.neck.get_submodule("0").weight), name


def test_a_killed_run_continues_with_its_average(photo_folder, tmp_path, monkeypatch):
    config = SlimConfig(**SETTINGS, steps=4, average=0.9, checkpoint_every=1)
    whole = run_slimming(make_tiny(), photo_folder, config)
    save = CheckpointFolder.save

    def stop_after_two(self, step, *rest):
        save(self, step, *rest)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFolder, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            run_slimming(make_tiny(), photo_folder, config, workspace=RunFolder(tmp_path / "run"))
    continued = run_slimming(make_tiny(), photo_folder, config, workspace=RunFolder(tmp_path / "run"))
    assert same(continued.sam, whole.sam)


@pytest.mark.parametrize("average", [0, 1, -0.5, float("nan")])
def test_what_is_no_decay_is_refused(average):
    with pytest.raises(samlet.InputError, match=r"average is .*; expected a number between 0 and 1"):
        SlimConfig(average=average)


def test_a_warm_up_is_never_long():
    rates = [_schedule(step, LoopConfig(steps=100_000, learning_rate=1, schedule="constant")) for step in (1, 100, 200)]
    assert rates == [1 / 200, 0.5, 1.0]
    assert _schedule(5, LoopConfig(steps=200, learning_rate=1, schedule="constant")) == 0.5
