"""Budgets of time: steps are counted from the clock, written down, and make the same weights when they are given."""

from __future__ import annotations

import json
import time

import pytest
import torch

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.masks import encode_rle
from samlet.distillation.config import DistillConfig
from samlet.distillation.pipeline import run_distillation
from samlet.runs.folder import RunFolder
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.training.budget import Clock, plan
from tests.conftest import make_tiny

SMALL = {"image_size": 64, "scoring_images": 2, "recovery_images": 2, "batch_size": 2}


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_what_is_left_is_shared_by_the_stages():
    """240 s less 40 fixed less two measurements of 5: 190 s for steps of 2 and 3 s, 38 of each."""
    found = plan(4, 40.0, [2.0, 3.0], 5.0, least=2)
    assert (found.steps, found.validations) == (76, 1)
    assert found.expected == pytest.approx(40 + 2 * 5 + 38 * (2 + 3))
    assert found.fits
    cheap = plan(4, 40.0, [2.0, 3.0], 0.1, least=2)
    assert cheap.validations == 12
    assert cheap.steps == 2 * int((200 - 2 * 12 * 0.1) / 5)


def test_too_few_minutes_give_the_fewest_steps_and_say_so():
    found = plan(0.5, 40.0, [2.0, 3.0], 5.0, least=2)
    assert (found.steps, found.validations, found.fits) == (2, 1, False)
    assert found.expected == pytest.approx(40 + 10 + 5)


@pytest.fixture
def quick_clock(monkeypatch):
    """What is timed, whatever the machine does meanwhile: a step takes 1 s, a measurement 0.3 s, all the rest 6 s."""
    timed = []

    def counted(minutes, fixed, stages, validation, least):
        timed.append((fixed, stages, validation))
        return plan(minutes, 6.0, [1.0] * len(stages), 0.3, least)

    monkeypatch.setattr("samlet.slimming.timing.plan", counted)
    monkeypatch.setattr("samlet.distillation.timing.plan", counted)
    return timed


def test_a_run_by_minutes_is_the_run_by_its_steps(photo_folder, tmp_path, capsys, quick_clock):
    workspace = RunFolder(tmp_path / "out")
    made = run_slimming(make_tiny(), photo_folder, SlimConfig(**SMALL, minutes=0.25), workspace=workspace)
    assert made.steps == made.config.steps == workspace.noted("budget")["steps"] == 8
    assert made.minutes == 0.25
    assert "0.25 minutes allow 8 steps; --steps 8 makes the same weights" in capsys.readouterr().err
    ((fixed, stages, validation),) = quick_clock
    assert len(stages) == 2
    assert 0 < validation < fixed
    assert all(0 < seconds < made.seconds for seconds in stages)
    for name, stage in made.stages.items():
        assert made.log.values(name, "validation_error")[0] == [4], "9 s free allow one measurement of each stage"
        assert len(stage.losses) == 4
    again = run_slimming(make_tiny(), photo_folder, SlimConfig(**SMALL, steps=8))
    assert same(made.sam, again.sam)
    assert [len(again.log.values(name, "validation_error")[0]) for name in again.stages] == [2, 2]


def test_a_continued_run_keeps_its_number_of_steps(photo_folder, tmp_path):
    workspace = RunFolder(tmp_path / "out")
    config = SlimConfig(**SMALL, minutes=0.001)
    first = run_slimming(make_tiny(), photo_folder, config, workspace=workspace)
    assert first.steps == 2
    workspace.note("budget", {"steps": 6, "validations": 1, "expected": 1.0, "fits": True})
    (tmp_path / "out" / "run" / "checkpoints").rename(tmp_path / "gone")
    made = run_slimming(make_tiny(), photo_folder, config, workspace=workspace)
    assert made.steps == 6
    with pytest.raises(samlet.InputError, match=r"minutes 0.001 there, 0.002 here"):
        run_slimming(make_tiny(), photo_folder, SlimConfig(**SMALL, minutes=0.002), workspace=workspace)


def test_time_that_passed_before_counts(photo_folder):
    late = Clock(began=time.perf_counter() - 1000)
    made = run_slimming(make_tiny(), photo_folder, SlimConfig(**SMALL, minutes=1), clock=late)
    assert made.steps == 2


@pytest.mark.parametrize("augment", [False, True])
def test_distillation_by_minutes_is_distillation_by_its_steps(tmp_path, photo_folder, augment, quick_clock):
    for path in sorted(photo_folder.glob("*.png")):
        mask = torch.zeros(72, 96, dtype=torch.bool)
        mask[10:40, 20:60] = True
        path.with_suffix(".json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(mask.numpy())}]}))
    data, models = open_dataset(photo_folder), (make_tiny(0), make_tiny(1))
    settings = {"image_size": 64, "prompts": 4, "batch_size": 2, "augment": augment}
    workspace = RunFolder(tmp_path / "out")
    made = run_distillation(*models, data, DistillConfig(**settings, minutes=0.15), workspace=workspace)
    assert len(made.stage.losses) == workspace.noted("budget")["steps"] == 2
    assert all(seconds > 0 for _, stages, _ in quick_clock for seconds in stages)
    assert same(made.sam, run_distillation(*models, data, DistillConfig(**settings, steps=2)).sam)


@pytest.mark.parametrize("command", ["slim", "distill", "demo"])
@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_budgets_that_are_none_get_one_line(command, minutes, tmp_path, capsys, photo_folder):
    arguments = {
        "slim": ["slim", "--teacher", "mobile_sam", "--images", str(photo_folder)],
        "distill": ["distill", "--teacher", "mobile_sam", "--student", "mobile_sam", "--data", str(photo_folder)],
        "demo": ["demo"],
    }[command]
    assert main([*arguments, "--minutes", minutes, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"minutes is {minutes};" in err
    assert "such as 4 or 0.5" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_minutes_and_steps_together_get_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["slim", "--teacher", "m", "--images", "i", "--out", "o", "--minutes", "3", "--steps", "4"])
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert err.count("\n") == 1
    assert "not allowed with" in err
    with pytest.raises(samlet.InputError, match=r"steps 4 and minutes 3 were given together; give one of them"):
        SlimConfig(steps=4, minutes=3)


def test_little_time_refits_on_fewer_pictures_and_a_continued_run_on_as_many(photo_folder, tmp_path):
    settings = {name: value for name, value in SMALL.items() if name != "recovery_images"}
    workspace = RunFolder(tmp_path / "out")
    made = run_slimming(make_tiny(), photo_folder, SlimConfig(**settings, minutes=0.002), workspace=workspace)
    assert made.refitted_on == made.config.recovery_images == workspace.noted("refitting") == 2
    assert SlimConfig(**settings).recovery_views(64, 5) == 48
    again = run_slimming(make_tiny(), photo_folder, SlimConfig(**settings, minutes=0.002), workspace=workspace)
    assert same(made.sam, again.sam)


def test_many_photographs_are_refitted_on_where_there_are_many():
    config = SlimConfig()
    assert [config.recovery_views(512, photographs) for photographs in (5, 64, 1000)] == [32, 64, 96]
    assert [config.recovery_views(1024, photographs) for photographs in (5, 1000)] == [8, 24]
    assert [config.recovery_views(256, photographs) for photographs in (5, 1000)] == [48, 160]
    assert SlimConfig(recovery_images=3).recovery_views(512, 1000) == 3
