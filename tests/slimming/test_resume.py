"""Killed, damaged, out of disk, distributed: a run goes on, or stops with what it had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import samlet
from samlet.slimming import SlimConfig, Workspace, run
from samlet.training.checkpoints import CheckpointFolder
from tests.conftest import ROOT, make_tiny

RUN = [sys.executable, str(ROOT / "tests" / "slimming" / "resume_run.py")]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
STEPS, BATCH = "steps=12", "batch_size=2"


def start(photos, out, *settings, launcher=RUN) -> subprocess.Popen:
    command = [*launcher, str(photos), str(out), STEPS, BATCH, *settings]
    return subprocess.Popen(command, env=ENV, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def finish(photos, out, *settings, launcher=RUN) -> str:
    process = start(photos, out, *settings, launcher=launcher)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return err


def weights(out: Path) -> dict[str, torch.Tensor]:
    return samlet.load(out).state_dict()


def killed_at(photos, out, moment) -> None:
    """A run that kills itself, as kill -9 does, once the checkpoint `STAGE/STEP` is written."""
    process = start(photos, out, f'kill_at="{moment}"')
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "config.json").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its photographs and its folder."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("whole")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(photos / f"{i}.png")
    (photos / "broken.jpg").write_text("no picture")
    finish(photos, folder / "out")
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
    photos, reference = whole
    out = tmp_path / "out"
    killed_at(photos, out, moment)
    finish(photos, out)
    expected, found = weights(reference), weights(out)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    losses = [json.loads((folder.parent / "out-losses.json").read_text()) for folder in (reference, out)]
    assert losses[0] == losses[1]
    steps = [(line["stage"], line["step"]) for line in map(json.loads, (out / "run" / "log.jsonl").open())]
    assert len(steps) == len(set(steps)) == 12


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(whole, tmp_path):
    photos, reference = whole
    out = tmp_path / "out"
    folder = out / "run" / "checkpoints" / "bottleneck-aligning"
    killed_at(photos, out, "bottleneck-aligning/6")
    steps = CheckpointFolder(folder).steps()
    assert len(steps) >= 2
    newest = folder / f"step-{steps[-1]:07d}.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    err = finish(photos, out)
    assert f"a checkpoint is damaged, continuing from step {steps[-2]}" in err
    assert newest.name in err
    expected, found = weights(reference), weights(out)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_other_settings_do_not_continue_a_run(photo_folder, tmp_path):
    workspace = Workspace(tmp_path / "out")
    config = {"steps": 4, "image_size": 64, "scoring_images": 2, "recovery_images": 0}
    teacher = make_tiny()
    run(teacher, photo_folder, SlimConfig(**config), workspace=workspace)
    assert workspace.unfinished
    with pytest.raises(samlet.InputError, match=r"unfinished run with other settings \(ratio 0.5 there, 0.4 here\)"):
        run(teacher, photo_folder, SlimConfig(**config, ratio=0.4), workspace=workspace)
    run(teacher, photo_folder, SlimConfig(**config, ratio=0.4), workspace=workspace, overwrite=True)
    workspace.finish()
    assert workspace.finished
    assert not (tmp_path / "out" / "run" / "checkpoints").exists()


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    workspace = Workspace(tmp_path)
    with workspace.locked(), pytest.raises(samlet.InputError, match="another process works in"), workspace.locked():
        pass
    with workspace.locked():
        pass


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """A real limit on the size of files stands for the full disk."""
    code = (
        "import resource, signal, sys, torch, samlet\n"
        "from pathlib import Path\n"
        "from samlet.training.checkpoints import CheckpointFolder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "folder = CheckpointFolder(Path(sys.argv[1]))\n"
        "folder.save(3, {'w': torch.zeros(1000)}, {})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "try:\n"
        "    folder.save(6, {'w': torch.zeros(100000)}, {})\n"
        "except samlet.SamletError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV).stdout
    assert "cannot be written" in said
    assert "the last good one is of step 3" in said
    assert "run the same command again" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000003.json", "step-0000003.safetensors"]
    assert CheckpointFolder(tmp_path).newest().step == 3


def test_a_disk_that_is_too_small_is_refused_before_anything_starts(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(samlet.InputError, match=r"has 0 MB free, but model and checkpoints need"):
        run(make_tiny(), photo_folder, SlimConfig(steps=2, image_size=64), workspace=Workspace(tmp_path / "out"))


def test_a_diverging_run_stops_and_keeps_its_checkpoint(photo_folder, tmp_path):
    config = SlimConfig(
        steps=40, image_size=64, scoring_images=2, recovery_images=0, learning_rate=1e18, clip=1e30, checkpoint_every=1
    )
    with pytest.raises(samlet.SamletError, match=r"became (nan|inf).*lower it with --learning-rate; the checkpoint of"):
        run(make_tiny(), photo_folder, config, workspace=Workspace(tmp_path / "out"))
    kept = CheckpointFolder(tmp_path / "out" / "run" / "checkpoints" / "bottleneck-aligning")
    assert kept.newest() is not None


@pytest.mark.distributed
def test_two_processes_reach_the_losses_of_one(whole, tmp_path):
    """torchrun with gloo, the same global batch: the same losses, up to the order of sums."""
    photos, reference = whole
    out = tmp_path / "out"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", RUN[1]]
    finish(photos, out, launcher=torchrun)
    one, two = (json.loads((folder.parent / "out-losses.json").read_text()) for folder in (reference, out))
    assert one.keys() == two.keys()
    for stage in one:
        assert two[stage] == pytest.approx(one[stage], rel=2e-3), stage
    expected, found = weights(reference), weights(out)
    assert samlet.load(out).config == samlet.load(reference).config
    assert all(torch.allclose(value, found[name], atol=2e-3) for name, value in expected.items())


@pytest.mark.distributed
def test_a_batch_that_cannot_be_shared_is_refused(whole, tmp_path):
    photos, _ = whole
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", RUN[1]]
    process = start(photos, tmp_path / "out", "batch_size=3", launcher=torchrun)
    _, err = process.communicate()
    assert process.returncode != 0
    assert "batch size 3 cannot be shared by 2 processes" in err


def test_bfloat16_trains(photo_folder):
    settings = {"steps": 4, "image_size": 64, "scoring_images": 2, "recovery_images": 2, "batch_size": 2}
    losses = [
        run(make_tiny(), photo_folder, SlimConfig(**settings, precision=precision)).stages["bottleneck aligning"].losses
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    sam = samlet.slim(make_tiny(), photo_folder, **settings, precision="bf16")
    assert sam.dtype == torch.float32
