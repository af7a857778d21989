"""Slimming from end to end, small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import samlet
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.evaluation.costs import count_encoder_macs
from samlet.slimming import SlimConfig, run
from samlet.slimming.procedure import hold_out


def same_weights(a, b) -> bool:
    return a.config == b.config and all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_slim_cuts_aligns_and_repeats_itself(small_sam, photo_folder):
    before = {name: value.clone() for name, value in small_sam.state_dict().items()}
    made = run(small_sam, photo_folder, SlimConfig(ratio=0.5, steps=12, image_size=64, scoring_images=2))
    blocks = [sum(p.numel() for p in s.image_encoder.parameters()) for s in (made.sam, small_sam)]
    neck = sum(p.numel() for p in small_sam.image_encoder.neck.get_submodule("2").parameters())  # is never cut
    assert blocks[0] - neck < 0.5 * (blocks[1] - neck)
    assert count_encoder_macs(made.sam).macs_modules < count_encoder_macs(small_sam).macs_modules
    assert made.steps == 12
    assert made.stages["embedding aligning"].images == 24
    assert not set(made.held_out) & set(made.trained_on)
    assert all(torch.equal(value, before[name]) for name, value in small_sam.state_dict().items())
    for name, value in made.sam.state_dict().items():
        if not name.startswith("image_encoder."):
            assert torch.equal(value, before[name]), name
    again = samlet.slim(small_sam, photo_folder, ratio=0.5, steps=12, image_size=64)
    other = samlet.slim(small_sam, photo_folder, ratio=0.5, steps=12, image_size=64)
    assert same_weights(again, other)
    seeded = samlet.slim(small_sam, photo_folder, ratio=0.5, steps=12, image_size=64, seed=1)
    assert not same_weights(again, seeded)


def test_aligning_lowers_the_embedding_error(small_sam, photo_folder):
    made = run(
        small_sam,
        photo_folder,
        SlimConfig(ratio=0.5, steps=60, image_size=64, scoring_images=2, batch_size=1, augment=False),
    )
    image, _ = preprocess(read_image(made.held_out[0]), 64, small_sam.pixel_mean, small_sam.pixel_std)
    image = image[None]
    with torch.no_grad():
        target = small_sam.encode(image)
        raw, aligned = ((m.encode(image) - target).square().mean() for m in (made.pruned, made.sam))
    assert aligned < 0.8 * raw


def test_a_slimmed_model_can_be_slimmed_again(small_sam, photo_folder):
    once = samlet.slim(small_sam, photo_folder, ratio=0.3, steps=2, image_size=64)
    twice = samlet.slim(once, photo_folder, ratio=0.3, steps=2, image_size=64)
    macs = [count_encoder_macs(sam).macs_modules for sam in (small_sam, once, twice)]
    assert macs[0] > macs[1] > macs[2]
    assert twice.config.encoder.scale_dim == small_sam.config.encoder.scale_dim


def test_held_out_photographs_are_a_fixed_share():
    paths = [Path(f"{i}.jpg") for i in range(11)]
    train, held = hold_out(paths, 0)
    assert (len(train), len(held)) == (8, 3)
    assert hold_out(paths, 0) == (train, held)
    assert len(hold_out([Path(str(i)) for i in range(1000)], 0)[1]) == 24
    with pytest.raises(samlet.InputError, match="at least 2"):
        hold_out(paths[:1], 0)


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, float("nan")])
def test_impossible_ratios(ratio):
    with pytest.raises(samlet.InputError, match=r"between 0 and 1, both excluded"):
        SlimConfig(ratio=ratio)


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 4, "epochs": 1}, {"learning_rate": 0}, {"batch_size": 0}])
def test_impossible_settings(settings):
    with pytest.raises(samlet.InputError):
        SlimConfig(**settings)


def test_a_loss_that_is_no_number_stops_the_run(small_sam, photo_folder):
    with pytest.raises(samlet.SamletError, match="--learning-rate"):
        samlet.slim(small_sam, photo_folder, ratio=0.5, steps=40, image_size=64, learning_rate=1e30)


def test_unreadable_photographs_are_skipped_and_named(small_sam, photo_folder):
    for i in range(6):
        (photo_folder / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    made = run(small_sam, photo_folder, SlimConfig(steps=12, image_size=64, scoring_images=2))
    assert made.skipped
    assert all("broken" in path.name for path in made.skipped)
    assert all("broken" not in path.name for path in made.trained_on)


def test_the_command_writes_everything_and_json(photo_folder, tmp_path):
    out = tmp_path / "slim"
    command = [sys.executable, "-m", "samlet", "slim", "--teacher", "mobile_sam", "--images", str(photo_folder)]
    options = ["--steps", "2", "--image-size", "64", "--scoring-images", "1", "--batch-size", "1", "--threads", "2"]
    done = subprocess.run([*command, *options, "--out", str(out), "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["encoder"]["macs_modules"] <= 0.4 * found["teacher_encoder"]["macs_modules"]
    assert 0 <= found["agreement"]["pruned"] <= 1
    assert 0 <= found["agreement"]["aligned"] <= 1
    assert found["steps"] == 2
    assert {"parameters", "seconds", "images_per_second"} <= found.keys()
    names = {"config.json", "model.safetensors", "provenance.json", "comparison.png", "report.md"}
    assert {p.name for p in out.iterdir()} == names
    assert Image.open(out / "comparison.png").width > 600
    assert sum(p.numel() for p in samlet.load(out).parameters()) == found["parameters"]
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["recipe"]["seed"] == 0
    assert len(provenance["losses"]["embedding aligning"]) == 1
    assert len(provenance["data"]["sha256"]) == len(provenance["parents"][0]["weights_sha256"]) == 64
    assert provenance["figures"]["agreement"] == found["agreement"]
    assert str(tmp_path) not in (out / "provenance.json").read_text() + (out / "report.md").read_text()
    again = subprocess.run([*command, *options, "--out", str(out)], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
