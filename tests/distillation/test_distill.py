"""Distillation from end to end, small."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.masks import encode_rle
from samlet.distillation.config import WEIGHTS, DistillConfig
from samlet.distillation.examples import Examples, Preparation
from samlet.distillation.layer_decay import block_depths, layer_rates
from samlet.distillation.objective import Batch, FullStage, resampled
from samlet.distillation.pipeline import run_distillation
from samlet.models.config import DecoderConfig
from samlet.models.quantized import quantized
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import RunLog
from samlet.training.loop import LoopConfig, Stage, train
from tests.conftest import (
    PHOTOS,
    ROOT,
    make_efficient,
    make_tiny,
    make_vit,
    needs_bf16,
    with_another_first_output,
)
from tests.distillation.resume_run import go

FAST = {"steps": 3, "image_size": 64, "prompts": 4, "rounds": 2, "batch_size": 2, "micro_batch": 2}
RUN = [sys.executable, str(ROOT / "tests" / "distillation" / "resume_run.py")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", RUN[1]]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}


def write_data(folder, count=4, size=(48, 64)):
    """Photographs with two masks each, in SA-1B's layout."""
    folder.mkdir(parents=True)
    source = np.random.default_rng(0)
    for i in range(count):
        image = source.integers(0, 100, (*size, 3), np.uint8)
        masks = [np.zeros(size, bool) for _ in range(2)]
        masks[0][4 : 24 + i, 8:30] = masks[1][14:40, 34 : 52 + i] = True
        for mask in masks:
            image[mask] += source.integers(60, 150, 3).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.png")
        entries = [{"segmentation": encode_rle(mask)} for mask in masks]
        (folder / f"{i}.json").write_text(json.dumps({"annotations": entries}))
    return folder


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize("make", [make_tiny, make_vit])
def test_a_student_that_equals_its_teacher_stays_as_it_is(data, make):
    made = run_distillation(make(), make(), open_dataset(data), DistillConfig(**FAST, mask=0, iou=0))
    assert all(made.losses[name] == {"first": 0, "last": 0} for name in ("loss", "embedding", "token", "output"))
    assert same(made.sam, make())


@pytest.mark.parametrize("learned", [("embedding", "token", "output"), ("mask", "iou")])
def test_every_term_falls_and_the_teacher_stays(data, learned):
    """What a teacher of random weights says and what is true contradict each other, so each half is learned alone."""
    teacher, student = make_tiny(0), make_tiny(1)
    off = dict.fromkeys({"embedding", "token", "output", "mask", "iou"} - set(learned), 0)
    made = run_distillation(
        teacher, student, open_dataset(data), DistillConfig(**{**FAST, "steps": 12}, **off, learning_rate=5e-3)
    )
    for name in ("loss", *learned):
        ends = made.losses[name]
        assert ends["last"] < 0.9 * ends["first"], name
    assert made.stage.validation["error"] < made.start["error"]
    assert same(teacher, make_tiny(0))
    assert same(student, make_tiny(1))
    assert not same(made.sam, student)
    parts = {"encoder", "prompts", "decoder", "backward and the rest"}
    assert made.parts.keys() == (parts | {"teacher"} if "embedding" in learned else parts), "true masks need no teacher"
    assert sum(made.parts.values()) == pytest.approx(1)


def test_an_output_that_was_not_trained_teaches_and_learns_nothing(data):
    """EfficientSAM's first: other weights in it change no loss, no measure and no other weight."""
    config = DistillConfig(**{**FAST, "steps": 2}, train="all")
    teacher, student = make_efficient(0), make_efficient(1)
    one = run_distillation(teacher, student, open_dataset(data), config)
    changed = with_another_first_output(student)
    other = run_distillation(with_another_first_output(teacher), changed, open_dataset(data), config)
    assert one.losses == other.losses
    assert one.start == other.start
    assert one.stage.validation == other.stage.validation
    assert all(one.losses[name]["first"] > 0 for name in ("embedding", "token", "output", "mask", "iou"))
    assert min(one.start["box"], one.start["point"]) > 0
    first = "mask_decoder.output_hypernetworks_mlps.0."
    for name, value in one.sam.state_dict().items():
        if name.startswith(first):
            assert torch.equal(value, student.state_dict()[name])
            assert torch.equal(other.sam.state_dict()[name], changed.state_dict()[name])
        elif name.startswith("mask_decoder.iou_prediction_head.layers.2."):
            assert torch.equal(value[1:], other.sam.state_dict()[name][1:])
        else:
            assert torch.equal(value, other.sam.state_dict()[name]), name
    assert not same(one.sam.mask_decoder.transformer, student.mask_decoder.transformer)


def test_measures_of_a_student_are_of_its_best_predicted_mask_where_it_has_no_single_one(data):
    """Of the three, whichever is predicted best; of equal students, that with the better choice is the better."""
    student, dataset = make_efficient(1), open_dataset(data)
    config = DistillConfig(**{**FAST, "steps": 1})
    measures = []
    for favourite in (1, 2, 3):
        with torch.no_grad():
            student.mask_decoder.iou_prediction_head.layers[-1].bias[:] = torch.arange(4) == favourite
            student.mask_decoder.iou_prediction_head.layers[-1].weight.zero_()
        measures.append(run_distillation(make_efficient(0), student, dataset, config).start["box"])
    assert len(set(measures)) == 3


@pytest.mark.parametrize(
    ("settings", "encoder", "decoder"),
    [
        ({"train": "encoder"}, True, False),
        ({"train": "all"}, True, True),
        ({"token": 0, "output": 0, "mask": 0, "iou": 0}, True, False),
    ],
)
def test_only_what_shall_be_trained_changes(data, settings, encoder, decoder):
    student = make_tiny(1)
    made = samlet.distill(make_tiny(0), student, open_dataset(data), **FAST, **settings)
    assert same(made.prompt_encoder, student.prompt_encoder)
    assert same(made.mask_decoder, student.mask_decoder) is not decoder
    assert same(made.image_encoder, student.image_encoder) is not encoder


def test_the_teacher_sees_each_photograph_once(data, monkeypatch):
    encoded = []
    encode = samlet.Sam.encode
    teacher = make_tiny(0)
    marked = float(teacher.image_encoder.state_dict()[next(iter(teacher.image_encoder.state_dict()))].sum())

    def count(self, images):
        first = float(next(iter(self.image_encoder.state_dict().values())).sum())
        encoded.extend([1] * len(images) if first == marked else [])
        return encode(self, images)

    monkeypatch.setattr(samlet.Sam, "encode", count)
    run_distillation(teacher, make_tiny(1), open_dataset(data), DistillConfig(**{**FAST, "steps": 5}))
    assert len(encoded) == 4


def examples_of(folder, student, count):
    """Photographs with three prompts each at 64 px."""
    prepare = Preparation.of(student, 64)
    return Examples(open_dataset(write_data(folder, count)), range(count), prepare, prepare, 3)


def test_the_micro_batch_changes_no_weight(tmp_path):
    """Two steps of Adam; all but rounding. With hard prompts a rounded answer may draw another click."""
    teacher, start = make_tiny(0).requires_grad_(False), make_tiny(1)
    examples = examples_of(tmp_path / "data", start, 6)

    def trained(micro_batch):
        student = copy.deepcopy(start)
        student.prompt_encoder.requires_grad_(False)
        objective = FullStage(student, teacher, DistillConfig(rounds=0), (64, 64))
        config = LoopConfig(steps=2, learning_rate=1e-3, micro_batch=micro_batch)
        log = RunLog(None)
        train(
            DistributedContext(),
            objective,
            lambda m, e, x, _: m(x, Batch(e)),
            examples,
            config,
            Stage(name="test"),
            log,
        )
        losses = {name: log.values("test", name)[1] for name in ("loss", *WEIGHTS)}
        return losses, torch.cat([p.detach().flatten() for p in student.parameters()])

    before = torch.cat([p.detach().flatten() for p in start.parameters()])
    (losses, weights), *others = (trained(micro_batch) for micro_batch in (1, 2, 4))
    for other_losses, other_weights in others:
        for name, values in other_losses.items():
            assert values == pytest.approx(losses[name], rel=1e-4), name
        assert (other_weights - weights).norm() < 0.02 * (weights - before).norm()


def test_photographs_compared_together_have_the_mean_of_their_losses(tmp_path):
    """With hard prompts, and one photograph whose embedding is much larger than the others'."""
    teacher, student = make_tiny(0).requires_grad_(False), make_tiny(1).requires_grad_(False)
    source = examples_of(tmp_path / "data", student, 4)
    examples = [source.at(position) for position in range(4)]
    with torch.no_grad():
        targets = [scale * teacher.encode(e.image[None])[0] for e, scale in zip(examples, (1, 1, 1, 1e4), strict=True)]
        start = student.encode(torch.stack([example.image for example in examples]))
    examples = [dataclasses.replace(e, target=target) for e, target in zip(examples, targets, strict=True)]
    objective = FullStage(student, teacher, DistillConfig(rounds=3), (64, 64))
    found = []
    for size in (1, 2, 4):
        embeddings, loss = start.clone().requires_grad_(True), torch.zeros(())
        for at in range(0, 4, size):
            part, _ = objective.compare(embeddings[at : at + size], Batch(examples[at : at + size]))
            loss = loss + part * (size / 4)
        loss.backward()
        found.append((loss.item(), embeddings.grad))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert torch.allclose(gradient, found[0][1], rtol=1e-3, atol=1e-6)


def test_hard_masks_leave_the_weight_of_the_output_term(tmp_path):
    """Points and boxes of a photograph are weighted together; before they were, the term was halved."""
    teacher, student = make_tiny(0).requires_grad_(False), make_tiny(1).requires_grad_(False)
    source = examples_of(tmp_path / "data", student, 2)
    examples = [source.at(position) for position in range(2)]
    embeddings = student.encode(torch.stack([example.image for example in examples]))

    def output(hard_masks):
        objective = FullStage(student, teacher, DistillConfig(rounds=0, hard_masks=hard_masks), (64, 64))
        return float(objective.compare(embeddings, Batch(examples))[1]["output"])

    weighted, alike = output(True), output(False)
    assert weighted != alike
    assert weighted == pytest.approx(alike, rel=0.2)


@pytest.mark.parametrize("teacher_size", [64, 128])
def test_a_teacher_of_another_size(data, teacher_size):
    config = DistillConfig(**FAST, teacher_size=teacher_size)
    made = run_distillation(make_tiny(), make_tiny(), open_dataset(data), config)
    assert (made.losses["embedding"]["first"] > 0) == (teacher_size == 128)


def test_resampling_keeps_places():
    ramp = torch.linspace(0, 1, 65)[:-1].add(1 / 128).expand(1, 1, 64, 64)
    assert torch.allclose(
        resampled(ramp, (32, 32))[0, 0, :, 2:-2], torch.linspace(0, 1, 33)[:-1][2:-2] + 1 / 64, atol=1e-3
    )
    assert resampled(ramp, (64, 64)) is ramp


def test_layer_wise_rates_fall_towards_the_photograph(small_sam):
    depths = block_depths(small_sam)
    blocks = small_sam.image_encoder.embedding_features()
    assert set(depths) == {name for name, _ in small_sam.image_encoder.named_parameters()}
    assert max(depths.values()) == len(blocks) + 1
    rate = layer_rates(small_sam, 0.5, "student.")
    assert rate("student.mask_decoder.iou_token.weight") == 1
    neck = next(name for name, depth in depths.items() if depth == len(blocks) + 1)
    assert rate(f"student.image_encoder.{neck}") == 1
    first = next(name for name, depth in depths.items() if depth == 0)
    assert rate(f"student.image_encoder.{first}") == 0.5 ** (len(blocks) + 1)
    for i, block in enumerate(blocks):
        name = next(name for name in depths if name.startswith(f"{block}."))
        assert rate(f"student.image_encoder.{name}") == 0.5 ** (len(blocks) - i)


@pytest.fixture
def _one_thread():
    """As in the runs that are processes of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def whole(_one_thread, tmp_path):
    """An uninterrupted run: its photographs and its folder."""
    data = write_data(tmp_path / "data")
    go(data, tmp_path / "whole")
    return data, tmp_path / "whole"


def told(out):
    return json.loads((out.parent / f"{out.name}.json").read_text())


def test_killed_and_continued_is_as_if_nothing_had_been(whole, tmp_path):
    """The run stops itself, as by kill -9, right after it has written a checkpoint."""
    data, reference = whole
    cut = tmp_path / "cut"
    command = [*RUN, str(data), str(cut), "kill_at=6"]
    killed = subprocess.run(command, env=ENV, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (cut / "run/checkpoints/distillation/step-0000006.json").is_file()
    assert not (cut / "config.json").exists()
    go(data, cut)
    assert same(samlet.load(cut), samlet.load(reference))
    assert [line["loss"] for line in told(reference)["losses"]] == [line["loss"] for line in told(cut)["losses"]]
    assert len(told(cut)["losses"]) == 8
    assert told(reference)["start"] == told(cut)["start"]


@pytest.mark.distributed
def test_two_processes_reach_the_losses_of_one(whole, tmp_path):
    data, reference = whole
    command = [*TORCHRUN, str(data), str(tmp_path / "two")]
    two = subprocess.run(command, env=ENV, cwd=ROOT, capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    one, two = told(reference), told(tmp_path / "two")
    for a, b in zip(one["losses"], two["losses"], strict=True):
        for name in ("loss", "embedding", "token", "output", "mask", "iou"):
            assert a[name] == pytest.approx(b[name], rel=5e-3), name
    assert one["end"]["point"] == pytest.approx(two["end"]["point"], abs=5e-3)


def test_labels_of_the_teacher_and_a_labelled_run_are_one_code(tmp_path):
    """A run on photographs without masks is the run on what `samlet label` writes for them."""
    photos, model = tmp_path / "photos", str(tmp_path / "model")
    photos.mkdir()
    for path in sorted(PHOTOS.glob("*.jpg"))[:2]:
        Image.open(path).resize((160, 120)).save(photos / path.name)
    sam = make_tiny()
    with torch.no_grad():  # so that masks of random weights are thought good, and soon settle where to ask no more
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 2
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 100
            mlp.layers[-1].bias *= 100
    samlet.save(sam, model)
    common = ["--teacher", model, "--student", model, "--steps", "2", "--image-size", "64"]
    common += ["--prompts", "4", "--rounds", "1", "--batch-size", "2", "--threads", "1", "--json"]
    thresholds = ["--pred-iou-thresh", "0", "--stability-score-thresh", "0.1"]
    assert main(["distill", *common, *thresholds, "--data", str(photos), "--out", str(tmp_path / "free")]) == 0
    assert (tmp_path / "free-labels").is_dir()
    label = ["label", "--teacher", model, "--images", str(photos), "--out", str(tmp_path / "labels"), "--workers", "1"]
    assert main([*label, *thresholds, "--threads", "1"]) == 0
    data = ["--data", str(tmp_path / "labels"), "--images", str(photos)]
    assert main(["distill", *common, *data, "--out", str(tmp_path / "labelled")]) == 0
    assert same(samlet.load(tmp_path / "free"), samlet.load(tmp_path / "labelled"))
    assert not same(samlet.load(tmp_path / "free"), sam)


def test_the_command(data, tmp_path, capsys):
    samlet.save(make_tiny(0), tmp_path / "teacher")
    samlet.save(make_vit(1), tmp_path / "student")
    arguments = ["distill", "--teacher", str(tmp_path / "teacher"), "--student", str(tmp_path / "student")]
    arguments += ["--data", str(data), "--image-size", "64", "--prompts", "8", "--out", str(tmp_path / "out")]
    (data / "broken.png").write_bytes(b"no picture")
    (data / "broken.json").write_text((data / "0.json").read_text())
    assert main([*arguments, "--steps", "4", "--rounds", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert {"losses", "steps", "seconds", "images_per_second"} <= content.keys()
    assert content["losses"].keys() == {"loss", "embedding", "token", "output", "mask", "iou"}
    assert content["losses"]["loss"].keys() == {"first", "last"}
    assert "broken.png" in err
    for name in ("report.md", "comparison.png", "losses.png", "provenance.json", "run/log.jsonl"):
        assert (tmp_path / "out" / name).is_file(), name
    assert Image.open(tmp_path / "out/comparison.png").width == 5 * 400
    parents = json.loads((tmp_path / "out/provenance.json").read_text())["parents"]
    assert [parent["role"] for parent in parents] == ["student", "teacher"]
    assert samlet.load(tmp_path / "out").config == dataclasses.replace(make_vit(1).config, trained_image_size=64)
    assert not (tmp_path / "out/run/teacher").exists()
    assert main([*arguments, "--steps", "4"]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.slow
def test_masks_that_a_model_made_are_called_pseudo_labels(data, tmp_path, capsys):
    for path in data.glob("*.json"):
        path.unlink()
    samlet.save(make_tiny(0), tmp_path / "teacher")
    words = ["distill", "--teacher", str(tmp_path / "teacher"), "--student", str(tmp_path / "teacher")]
    words += ["--data", str(data), "--image-size", "64", "--prompts", "4", "--steps", "2", "--rounds", "0"]
    words += ["--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "makes pseudo-labels, which stand in for true masks" in capsys.readouterr().err
    report = (tmp_path / "out" / "report.md").read_text()
    assert "they are pseudo-labels, and mIoU held out is agreement with them" in report
    assert "true masks" not in report


def test_slim_then_distill_is_two_steps_in_one(data, tmp_path, capsys):
    samlet.save(make_tiny(0), tmp_path / "teacher")
    settings = {"steps": 2, "image_size": 64, "scoring_images": 1, "recovery_images": 0}
    slimmed = samlet.slim(make_tiny(0), data, **settings)
    distilled = samlet.distill(
        make_tiny(0), slimmed, open_dataset(data), steps=2, image_size=64, prompts=4, rounds=1, seed=0
    )
    slim = ["slim", "--teacher", str(tmp_path / "teacher"), "--images", str(data), "--threads", "1"]
    for name, value in settings.items():
        slim += [f"--{name.replace('_', '-')}", str(value)]
    then = [*slim, "--out", str(tmp_path / "b"), "--then", "distill --steps 2 --prompts 4 --rounds 1", "--json"]
    assert main(then) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["steps"] == 2
    assert content["distill"]["steps"] == 2
    assert same(samlet.load(tmp_path / "b-slimmed"), slimmed)
    assert same(samlet.load(tmp_path / "b"), distilled)
    assert main([*slim, "--out", str(tmp_path / "c"), "--then", "quantize"]) == 2
    assert "expected distill" in capsys.readouterr().err
    assert main([*slim, "--out", str(tmp_path / "c"), "--then", "distill --student x"]) == 2
    assert "leave it out" in capsys.readouterr().err
    assert not (tmp_path / "c-slimmed").exists()


def test_masks_of_another_size_and_json_without_image_are_passed_over(tmp_path):
    data = write_data(tmp_path / "more", 8)
    mask = np.ones((10, 10), bool)
    (data / "0.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(mask)}]}))
    (data / "nowhere.json").write_text((data / "1.json").read_text())
    (data / "2.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(np.zeros((48, 64), bool))}]}))
    (data / "3.json").unlink()
    assert (open_dataset(data).without_masks, open_dataset(data).without_image) == (1, 1)
    made = run_distillation(make_tiny(0), make_tiny(1), open_dataset(data), DistillConfig(**{**FAST, "steps": 6}))
    told = " ".join(made.skipped.values())
    assert "expected them to agree" in told
    assert "2.png has no masks" in told
    assert made.trained_on + len(made.held_out) == 7


@pytest.mark.parametrize("kind", ["full", "pixel", "outside"])
def test_odd_masks_train(data, kind):
    entry = {
        "full": {"segmentation": encode_rle(np.ones((48, 64), bool))},
        "pixel": {"segmentation": encode_rle(np.eye(48, 64, dtype=bool) & (np.arange(64) == 7))},
        "outside": {"segmentation": [[60, 40, 90, 40, 90, 70, 60, 70]]},
    }[kind]
    for path in data.glob("*.json"):
        content = {"image": {"height": 48, "width": 64}, "annotations": [{**entry, "point_coords": [[300, 300]]}]}
        if kind == "outside":
            content = coco(data, entry)
            break
        path.write_text(json.dumps(content))
    dataset = open_dataset(data)
    if kind == "outside":
        (data.parent / "coco.json").write_text(json.dumps(content))
        dataset = open_dataset(data.parent / "coco.json", data)
    made = run_distillation(make_tiny(0), make_tiny(1), dataset, DistillConfig(**FAST))
    assert made.losses["loss"]["last"] < 0.99 * made.losses["loss"]["first"]  # 0.96 to 0.98
    assert all(0.9 < value < 1.1 for value in made.losses["embedding"].values()), "as far as an untrained student is"
    assert all(0 <= value <= 1 for name in ("output", "iou") for value in made.losses[name].values())
    assert all(1 < value < 4 for value in made.losses["mask"].values())  # dice is at most 1, 20 times focal about 2


def coco(data, entry):
    """All photographs with one polygon that reaches outside."""
    images = [
        {"id": i, "file_name": path.name, "height": 48, "width": 64}
        for i, path in enumerate(sorted(data.glob("*.png")))
    ]
    known = {"category_id": 1, "iscrowd": 0, "area": 80, "bbox": [60, 40, 4, 8], **entry}
    annotations = [{"id": i + 1, "image_id": i, **known} for i in range(len(images))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 1, "epochs": 1}, "give one of them"),
        ({"rounds": -1}, "rounds is -1"),
        ({"boxes": 1.5}, "boxes is 1.5; expected 0 to 1"),
        ({"layer_decay": 1.2}, "at most 1"),
        ({"embedding": -1}, "embedding is -1; expected at least 0"),
        ({"train": "decoder"}, "expected one of all, encoder"),
        ({"clicks": "none"}, "expected one of accumulate, replace"),
        ({"prompts": 2, "batch_size": 4}, "at least one for each"),
        (dict.fromkeys(("embedding", "token", "output", "mask", "iou"), 0), "at least one term"),
        ({"cache": "x", "augment": True}, "leave the cache out"),
    ],
)
def test_settings_that_cannot_work(settings, said):
    with pytest.raises(samlet.InputError, match=said):
        DistillConfig(**settings)


def test_models_and_data_that_do_not_fit_are_refused_before_anything_is_written(data, tmp_path, photo_folder):
    teacher, out = make_tiny(0), RunFolder(tmp_path / "out")

    def refused(said, student=None, dataset=None, **settings):
        with pytest.raises(samlet.InputError, match=said):
            run_distillation(
                teacher,
                student or make_tiny(1),
                dataset or open_dataset(data),
                DistillConfig(**{**FAST, **settings}),
                workspace=out,
            )

    narrow = make_vit().config
    encoder = type(narrow.encoder)(**{**vars(narrow.encoder), "out_channels": 128})
    decoder = DecoderConfig(**{**vars(narrow.decoder), "num_heads": 4})
    refused("channels of the embedding: 128", samlet.Sam(samlet.SamConfig(encoder=encoder, decoder=decoder)))
    refused("samlet label", dataset=open_dataset(photo_folder))
    refused("at least 2", dataset=open_dataset(data).head(1))
    refused("multiple of", image_size=70)
    broken = make_tiny(1)
    with torch.no_grad():
        next(broken.image_encoder.parameters()).fill_(float("nan"))
    refused("holds NaN", broken)
    small = make_tiny(1)
    small.mask_decoder.iou_prediction_head.layers[0] = quantized(small.mask_decoder.iou_prediction_head.layers[0], None)
    refused("distil first", small)
    assert not (tmp_path / "out").exists()
    with pytest.raises(samlet.InputError, match="'step'"):
        samlet.distill(teacher, make_tiny(1), open_dataset(data), step=3)


def losses(data, **settings):
    """Of every step, by term."""
    made = run_distillation(make_tiny(0), make_tiny(1), open_dataset(data), DistillConfig(**{**FAST, **settings}))
    return {name: made.log.values("distillation", name)[1] for name in made.losses}


def test_augmented_runs_train_and_repeat_themselves(data):
    found, plain = losses(data, augment=True), losses(data)
    assert found != plain
    assert found["loss"][-1] < found["loss"][0]
    for name, values in found.items():  # views of the same photographs are about as hard
        assert np.mean(values) == pytest.approx(np.mean(plain[name]), rel=0.15)
    assert found == losses(data, augment=True)


@needs_bf16
def test_bfloat16_trains(data):
    """With easy prompts: a rounded answer may draw another click."""
    exact, rounded = losses(data, rounds=0), losses(data, rounds=0, precision="bf16")
    for name, values in exact.items():
        assert rounded[name] != values
        assert rounded[name] == pytest.approx(values, rel=0.01), name
