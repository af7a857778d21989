"""Slimming from end to end, small."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import plain_images
from samlet.data.images import find_images, read_image
from samlet.data.transforms import preprocess
from samlet.evaluation.costs import count_encoder_macs
from samlet.models.quantized import quantized
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.report import provenance
from samlet.slimming.validation import Validation
from samlet.training.batches import ImageDataset, train_val_split
from tests.conftest import make_efficient, make_tiny, with_another_first_output

FAST = {
    "steps": 4,
    "image_size": 64,
    "scoring_images": 2,
    "recovery_images": 2,
    "batch_size": 2,
    "micro_batch": 2,
}
FASTEST = {**FAST, "steps": 2, "scoring_images": 1, "recovery_images": 0}


def same_weights(a, b) -> bool:
    return a.config == b.config and all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_slim_cuts_aligns_and_repeats_itself(small_sam, photo_folder):
    before = {name: value.clone() for name, value in small_sam.state_dict().items()}
    made = run_slimming(small_sam, photo_folder, SlimConfig(**FAST, ratio=0.5))
    blocks = [sum(p.numel() for p in s.image_encoder.parameters()) for s in (made.sam, small_sam)]
    neck = sum(p.numel() for p in small_sam.image_encoder.neck.get_submodule("2").parameters())  # is never cut
    assert blocks[0] - neck < 0.5 * (blocks[1] - neck)
    assert count_encoder_macs(made.sam).macs_modules < count_encoder_macs(small_sam).macs_modules
    assert made.steps == 4
    assert [(name, stage.images) for name, stage in made.stages.items()] == [
        ("bottleneck aligning", 4),
        ("embedding aligning", 4),
    ]
    assert not set(made.held_out) & set(made.trained_on)
    assert all(torch.equal(value, before[name]) for name, value in small_sam.state_dict().items())
    for name, value in made.sam.state_dict().items():
        if not name.startswith("image_encoder."):
            assert torch.equal(value, before[name]), name
    assert same_weights(samlet.slim(small_sam, photo_folder, **FAST), made.sam)
    assert not same_weights(samlet.slim(small_sam, photo_folder, **FAST, seed=1), made.sam)


def test_aligning_lowers_the_embedding_error(small_sam, photo_folder):
    settings = {**FAST, "steps": 12, "batch_size": 1, "micro_batch": 1, "recovery_images": 0}
    made = run_slimming(small_sam, photo_folder, SlimConfig(**settings, augment=False, learning_rate=3e-3))
    image, _ = preprocess(read_image(made.held_out[0]), 64, small_sam.pixel_mean, small_sam.pixel_std)
    image = image[None]
    with torch.no_grad():
        target = small_sam.encode(image)
        raw, aligned = ((m.encode(image) - target).square().mean() for m in (made.pruned, made.sam))
    assert aligned < 0.8 * raw


def test_a_slimmed_model_can_be_slimmed_again(small_sam, photo_folder):
    once = samlet.slim(small_sam, photo_folder, **FASTEST, ratio=0.3)
    twice = samlet.slim(once, photo_folder, **FASTEST, ratio=0.3)
    macs = [count_encoder_macs(sam).macs_modules for sam in (small_sam, once, twice)]
    assert macs[0] > macs[1] > macs[2]
    assert twice.config.encoder.scale_dim == small_sam.config.encoder.scale_dim


def test_held_out_photographs_are_a_fixed_share():
    paths = [Path(f"{i}.jpg") for i in range(11)]
    train, held = train_val_split(paths, 0)
    assert (len(train), len(held)) == (8, 3)
    assert train_val_split(paths, 0) == (train, held)
    assert len(train_val_split([Path(str(i)) for i in range(1000)], 0)[1]) == 24
    with pytest.raises(samlet.InputError, match="at least 2"):
        train_val_split(paths[:1], 0)


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, float("nan")])
def test_impossible_ratios(ratio):
    with pytest.raises(samlet.InputError, match=r"between 0 and 1, both excluded"):
        SlimConfig(ratio=ratio)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1},
        {"steps": 4, "epochs": 1},
        {"learning_rate": 0},
        {"batch_size": 0},
        {"importance": "luck"},
        {"selection": "median"},
        {"stage": "first", "procedure": "one-step"},
        {"views": 0},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(samlet.InputError, match=r"expected|give one of them|has one stage"):
        SlimConfig(**settings)


def test_one_step_cuts_everything_at_once(small_sam, photo_folder):
    made = run_slimming(small_sam, photo_folder, SlimConfig(**FASTEST, procedure="one-step"))
    assert list(made.stages) == ["aligning"]
    assert made.steps == 2
    kinds = {g.name: g.kind for g in small_sam.image_encoder.channel_groups()}
    assert {kinds[name] for name in made.kept} == {"embedding", "bottleneck", "head"}


def test_the_two_stages_apart_make_what_they_make_together(small_sam, photo_folder):
    """With schedules that do not span both, halves of a run are the run."""
    together = run_slimming(small_sam, photo_folder, SlimConfig(**FAST))
    half = {**FAST, "steps": 2}
    first = run_slimming(small_sam, photo_folder, SlimConfig(**half, stage="first"))
    assert list(first.stages) == ["bottleneck aligning"]
    assert first.sam.config.encoder.mlp_dims == small_sam.config.encoder.mlp_dims
    second = run_slimming(small_sam, photo_folder, SlimConfig(**half, stage="second"), student=first.sam)
    assert list(second.stages) == ["embedding aligning"]
    assert same_weights(second.sam, together.sam)
    parents = [provenance(made, "teacher", "photographs", "half")["parents"] for made in (first, second)]
    assert [[parent["name"] for parent in made] for made in parents] == [["teacher"], ["teacher", "half"]]
    assert parents[1][1]["weights_sha256"] == first.sam.fingerprint()


def test_a_slimmed_model_can_be_aligned_further(small_sam, photo_folder):
    once = samlet.slim(small_sam, photo_folder, **FASTEST)
    settings = {**FAST, "steps": 8, "learning_rate": 1e-3, "augment": False}
    made = run_slimming(small_sam, photo_folder, SlimConfig(**settings, stage="align"), student=once)
    assert made.sam.config == once.config
    assert same_weights(made.pruned, once)
    losses = made.stages["aligning"].losses
    assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:3])


@pytest.mark.parametrize("stage", ["second", "align"])
def test_a_stage_says_which_model_it_misses(small_sam, photo_folder, stage):
    with pytest.raises(samlet.InputError, match=r"without a student; name the model to begin from"):
        run_slimming(small_sam, photo_folder, SlimConfig(**FAST, stage=stage))
    with pytest.raises(samlet.InputError, match=r"with a student; it begins from the teacher"):
        run_slimming(small_sam, photo_folder, SlimConfig(**FAST), student=small_sam)


@pytest.mark.parametrize(
    "settings",
    [
        {"whole_heads": False, "loss": "mse"},
        {"selection": "uniform", "micro_batch": 1, "recovery_images": 2},
        {
            "steps": 4,
            "schedule": "plateau",
            "alpha_epochs": 1,
            "bottleneck_alpha": "dynamic",
            "embedding_alpha": "constant",
        },
    ],
)
def test_every_setting_makes_a_model_that_works(small_sam, photo_folder, tmp_path, settings):
    made = run_slimming(small_sam, photo_folder, SlimConfig(**{**FASTEST, **settings}))
    samlet.save(made.sam, tmp_path / "small")
    loaded = samlet.load(tmp_path / "small")
    assert same_weights(loaded, made.sam)
    held_out = ImageDataset(made.held_out, 64, small_sam.pixel_mean, small_sam.pixel_std)
    validation = Validation(small_sam, made.held_out, held_out, DistributedContext())
    raw, aligned = (validation(model.image_encoder) for model in (made.pruned, loaded))
    assert aligned["error"] < raw["error"] < 0.6  # 0.15 to 0.43 raw; without looking it would be 1
    assert aligned["agreement"] > 0.7  # 0.78 to 0.99
    again = samlet.slim(loaded, photo_folder, **FASTEST, procedure="one-step", importance="magnitude", ratio=0.2)
    assert count_encoder_macs(again).macs_modules < count_encoder_macs(loaded).macs_modules
    assert made.sam.config.encoder.scale_dim == small_sam.config.encoder.scale_dim


def test_taylor_without_labels_says_so(small_sam, photo_folder):
    with pytest.raises(samlet.InputError, match=r"reads labelled masks and none were given; .*--labels"):
        run_slimming(small_sam, photo_folder, SlimConfig(**FAST, importance="taylor"))


def test_a_teacher_that_holds_no_numbers_is_refused(small_sam, photo_folder):
    with torch.no_grad():
        next(small_sam.image_encoder.parameters())[0] = float("nan")
    with pytest.raises(samlet.InputError, match=r"the teacher's weight image_encoder\.\S+ holds NaN"):
        run_slimming(small_sam, photo_folder, SlimConfig(**FAST))


def test_a_quantized_teacher_is_refused(small_sam, photo_folder):
    decoder = small_sam.mask_decoder
    decoder.iou_prediction_head.layers[0] = quantized(decoder.iou_prediction_head.layers[0], None)
    with pytest.raises(samlet.InputError, match="slim first, then quantize"):
        run_slimming(small_sam, photo_folder, SlimConfig(**FAST))


def test_a_ratio_too_high_is_refused_before_anything_is_computed(small_sam, photo_folder):
    with pytest.raises(samlet.InputError, match=r"would leave nothing of .* expected at most 0\.\d+"):
        run_slimming(small_sam, photo_folder, SlimConfig(**{**FAST, "ratio": 0.97}))


def test_validation_encodes_each_photograph_once(small_sam, photo_folder):
    paths = find_images(photo_folder)
    small_sam.requires_grad_(False)
    photographs = ImageDataset(paths, 64, small_sam.pixel_mean, small_sam.pixel_std)
    validation = Validation(small_sam, paths, photographs, DistributedContext())
    student = copy.deepcopy(small_sam.image_encoder)
    calls = {"teacher": 0, "student": 0}

    def count(name):
        def hook(_, __, output):
            calls[name] += len(output)

        return hook

    small_sam.image_encoder.register_forward_hook(count("teacher"))
    student.register_forward_hook(count("student"))
    assert validation(student) == {"error": 0.0, "agreement": 1.0}
    with torch.no_grad():
        student.neck.get_submodule("2").weight.mul_(torch.randn(student.neck.get_submodule("2").weight.shape))
    worse = validation(student)
    assert worse["error"] > 0
    assert worse["agreement"] < 1
    assert calls == {"teacher": 6, "student": 12}


def test_validation_reads_no_output_that_was_not_trained(photo_folder):
    sam, paths = make_efficient().requires_grad_(False), find_images(photo_folder)
    photographs = ImageDataset(paths, 64, sam.pixel_mean, sam.pixel_std, resize="stretch")
    student = make_efficient(1).image_encoder
    one, other = (
        Validation(teacher, paths, photographs, DistributedContext())(student)
        for teacher in (sam, with_another_first_output(sam))
    )
    assert one == other
    assert 0 < one["agreement"] < 1


def test_evaluation_encodes_each_photograph_once(small_sam, photo_folder):
    calls = []
    student = copy.deepcopy(small_sam)
    student.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    found = samlet.evaluate(student, plain_images(photo_folder), reference=small_sam, image_size=64)
    assert found.masks > 20
    assert len(calls) == found.images == 6


def test_unreadable_photographs_are_skipped_and_named(small_sam, photo_folder):
    for i in range(6):
        (photo_folder / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    made = run_slimming(
        small_sam, photo_folder, SlimConfig(**{**FAST, "steps": 6, "batch_size": 4})
    )  # more than one pass
    assert {path.name for path in made.skipped} == {f"broken{i}.jpg" for i in range(6)}
    assert all("broken" not in path.name for path in made.trained_on)


def test_the_command_writes_everything_and_json(photo_folder, tmp_path, capsys):
    out = tmp_path / "slim"
    samlet.save(make_tiny(), tmp_path / "teacher")
    command = ["slim", "--teacher", str(tmp_path / "teacher"), "--images", str(photo_folder), "--out", str(out)]
    command += ["--steps", "2", "--image-size", "64", "--scoring-images", "1", "--batch-size", "1", "--threads", "1"]
    command += ["--recovery-images", "2"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["encoder"]["macs_modules"] == count_encoder_macs(samlet.load(out)).macs_modules
    assert found["teacher_encoder"]["macs_modules"] == count_encoder_macs(make_tiny()).macs_modules
    assert 0 <= found["agreement"]["pruned"] <= 1
    assert 0 <= found["agreement"]["aligned"] <= 1
    assert found["steps"] == 2
    assert {"parameters", "seconds", "images_per_second"} <= found.keys()
    pictures = {"comparison.png", "losses.png", "widths.png"}
    names = {"config.json", "model.safetensors", "provenance.json", "report.md", "run"} | pictures
    assert {p.name for p in out.iterdir()} == names
    assert {p.name for p in (out / "run").iterdir()} == {"run.json", "log.jsonl", "tensorboard"}
    assert Image.open(out / "comparison.png").width > 600
    assert sum(p.numel() for p in samlet.load(out).parameters()) == found["parameters"]
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["recipe"]["seed"] == 0
    assert len(provenance["losses"]["embedding aligning"]) == 1
    assert len(provenance["data"]["sha256"]) == len(provenance["parents"][0]["weights_sha256"]) == 64
    assert provenance["figures"]["agreement"] == found["agreement"]
    assert str(tmp_path) not in (out / "provenance.json").read_text() + (out / "report.md").read_text()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--overwrite" in said
    for name in names - {"run"}:
        (out / name).unlink()
    (out / "run" / "run.json").write_text(
        (out / "run" / "run.json").read_text().replace('"finished": true', '"finished": false')
    )
    assert main([*command, "--ratio", "0.4"]) == 2
    said = capsys.readouterr().err
    assert "run with other settings (ratio 0.5 there, 0.4 here)" in said.splitlines()[-1]


def test_no_steps_cut_and_refit_only(photo_folder, tmp_path):
    teacher = make_tiny()
    settings = {**FAST, "steps": 0, "procedure": "one-step"}
    made = run_slimming(teacher, photo_folder, SlimConfig(**settings))
    raw = run_slimming(teacher, photo_folder, SlimConfig(**{**settings, "recovery_images": 0}))
    assert made.steps == 0
    assert made.images_per_second == 0
    error, unfitted = (one.stages["aligning"].validation["error"] for one in (made, raw))
    assert error < 0.8 * unfitted
    samlet.save(teacher, tmp_path / "teacher")
    words = ["--images", str(photo_folder), "--steps", "0", "--image-size", "64", "--out", str(tmp_path / "out")]
    assert main(["slim", "--teacher", str(tmp_path / "teacher"), *words]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert "0 steps of 4 images" in report
    assert "| bottleneck aligning | 0 |" in report
