"""Killed, damaged, out of disk, distributed: a run goes on, or stops with what it had."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from tests.conftest import ROOT, make_tiny, needs_bf16
from tests.slimming.resume_run import go

RUN = [sys.executable, str(ROOT / "tests" / "slimming" / "resume_run.py")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", RUN[1]]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
QUICK = {"steps": 2, "image_size": 64, "scoring_images": 1, "recovery_images": 0, "batch_size": 2, "micro_batch": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    """As in the runs that are processes of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def elsewhere(photos, out, *settings, launcher=RUN) -> subprocess.CompletedProcess:
    """A run as a process of its own, or several."""
    command = [*launcher, str(photos), str(out), *settings]
    return subprocess.run(command, env=ENV, cwd=ROOT, capture_output=True, text=True, check=False)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return samlet.load(out).state_dict()


def losses(out: Path) -> dict[str, list[float]]:
    return json.loads((out.parent / f"{out.name}-losses.json").read_text())


def is_as_if_uninterrupted(out: Path, reference: Path) -> bool:
    """Weights and losses bit for bit, and a log with every step once."""
    expected, found = weights(reference), weights(out)
    steps = [(line["stage"], line["step"]) for line in map(json.loads, (out / "run" / "log.jsonl").open())]
    assert steps == [(f"{stage} aligning", step) for stage in ("bottleneck", "embedding") for step in range(1, 7)]
    assert expected.keys() == found.keys()
    return losses(reference) == losses(out) and all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its photographs and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(photos / f"{i}.png")
    (photos / "broken.jpg").write_text("no picture")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    go(photos, folder / "out")
    torch.set_num_threads(before)
    return photos, folder / "out"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("bottleneck-aligning/0", marks=pytest.mark.slow),
        pytest.param("bottleneck-aligning/3", marks=pytest.mark.slow),
        "embedding-aligning/3",
    ],
)
def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(whole, tmp_path, moment):
    """The run stops itself, as by kill -9, right after it has written a checkpoint."""
    photos, reference = whole
    out = tmp_path / "out"
    killed = elsewhere(photos, out, f'kill_at="{moment}"')
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "config.json").exists()
    go(photos, out)
    assert is_as_if_uninterrupted(out, reference)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(whole, tmp_path, monkeypatch, capsys):
    """Of a run that Ctrl-C stops a step after its last checkpoint."""
    photos, reference = whole
    out = tmp_path / "out"
    add = RunLog.add

    def add_and_stop(log, stage, step, *others):
        add(log, stage, step, *others)
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "add", add_and_stop)
        with pytest.raises(KeyboardInterrupt):
            go(photos, out, checkpoint_every=2)
    folder = out / "run" / "checkpoints" / "bottleneck-aligning"
    assert CheckpointFolder(folder).steps() == [2, 4]
    newest = folder / "step-0000004.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    capsys.readouterr()
    go(photos, out, checkpoint_every=2)
    err = capsys.readouterr().err
    assert "a checkpoint is damaged, continuing from step 2" in err
    assert newest.name in err
    assert is_as_if_uninterrupted(out, reference)


def test_other_settings_do_not_continue_a_run(photo_folder, tmp_path):
    workspace = RunFolder(tmp_path / "out")
    teacher = make_tiny()
    run_slimming(teacher, photo_folder, SlimConfig(**QUICK), workspace=workspace)
    assert not workspace.finished
    with pytest.raises(samlet.InputError, match=r"run with other settings \(ratio 0.5 there, 0.4 here\)"):
        run_slimming(teacher, photo_folder, SlimConfig(**QUICK, ratio=0.4), workspace=workspace)
    run_slimming(teacher, photo_folder, SlimConfig(**QUICK, ratio=0.4), workspace=workspace, overwrite=True)
    workspace.finish()
    assert workspace.finished
    assert not (tmp_path / "out" / "run" / "checkpoints").exists()


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    workspace = RunFolder(tmp_path)
    with workspace.locked(), pytest.raises(samlet.InputError, match=r"process \d+ on .* works in"), workspace.locked():
        pass
    with workspace.locked():
        pass


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """A real limit on the size of files stands for the full disk."""
    folder = CheckpointFolder(tmp_path)
    folder.save(3, {"w": torch.zeros(1000)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        with pytest.raises(samlet.SamletError) as error:
            folder.save(6, {"w": torch.zeros(100000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    said = str(error.value)
    assert "cannot be written" in said
    assert "the last good one is of step 3" in said
    assert "run the same command again" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000003.json", "step-0000003.safetensors"]
    assert folder.newest().step == 3


def test_a_disk_that_is_too_small_is_refused_before_anything_starts(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(samlet.InputError, match=r"has 0 MB free, but model and checkpoints need"):
        run_slimming(
            make_tiny(), photo_folder, SlimConfig(steps=2, image_size=64), workspace=RunFolder(tmp_path / "out")
        )


def test_a_diverging_run_stops_and_keeps_its_checkpoint(photo_folder, tmp_path):
    config = SlimConfig(
        steps=40, image_size=64, scoring_images=2, recovery_images=0, learning_rate=1e18, clip=1e30, checkpoint_every=1
    )
    with pytest.raises(samlet.SamletError, match=r"became (nan|inf).*lower it with --learning-rate; the checkpoint of"):
        run_slimming(make_tiny(), photo_folder, config, workspace=RunFolder(tmp_path / "out"))
    kept = CheckpointFolder(tmp_path / "out" / "run" / "checkpoints" / "bottleneck-aligning")
    assert kept.newest() is not None


@pytest.mark.distributed
def test_two_processes_reach_the_losses_of_one(whole, tmp_path):
    """torchrun with gloo, the same global batch: the same losses, up to the order of sums."""
    photos, reference = whole
    out = tmp_path / "out"
    two = elsewhere(photos, out, launcher=TORCHRUN)
    assert two.returncode == 0, two.stderr
    assert losses(out).keys() == losses(reference).keys()
    for stage, expected in losses(reference).items():
        assert losses(out)[stage] == pytest.approx(expected, rel=2e-3), stage
    found = weights(out)
    assert samlet.load(out).config == samlet.load(reference).config
    assert all(torch.allclose(value, found[name], atol=2e-3) for name, value in weights(reference).items())


@pytest.mark.distributed
def test_a_batch_that_cannot_be_shared_is_refused(whole, tmp_path):
    photos, _ = whole
    refused = elsewhere(photos, tmp_path / "out", "batch_size=3", launcher=TORCHRUN)
    assert refused.returncode != 0
    assert "batch size 3 cannot be shared by 2 processes" in refused.stderr


@needs_bf16
def test_bfloat16_trains(photo_folder):
    """With channels chosen by their weights, which are the same in both; how scores differ is another test's."""
    settings = {**QUICK, "steps": 4, "importance": "magnitude"}
    exact, rounded = (
        run_slimming(make_tiny(), photo_folder, SlimConfig(**settings, precision=precision))
        for precision in ("fp32", "bf16")
    )
    for name, stage in exact.stages.items():
        assert rounded.stages[name].losses != stage.losses
        assert rounded.stages[name].losses == pytest.approx(stage.losses, rel=0.02), name
    assert rounded.sam.dtype == torch.float32
