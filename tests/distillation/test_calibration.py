"""Calibration of a student's predicted IoU and logits."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import samlet
from samlet.cli import main
from samlet.data.bundled import bundled_photographs
from samlet.data.images import read_image
from samlet.distillation.calibration import calibrate
from samlet.errors import InputError
from tests.conftest import make_hiera, make_tiny
from tests.distillation.test_distill import write_data

SIZE = 256


def spoilt(sam, factor, offset, logits):
    """The model with other predicted IoU and softer logits."""
    made = copy.deepcopy(sam)
    with torch.no_grad():
        head = made.mask_decoder.iou_prediction_head.layers[-1]
        head.weight.mul_(factor)
        head.bias.mul_(factor).add_(offset)
        for mlp in made.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(logits)
            mlp.layers[-1].bias.mul_(logits)
    return made


@pytest.fixture(scope="module")
def teacher():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def photographs():
    return [read_image(path) for path in bundled_photographs()[:2]]


def test_what_was_scaled_is_scaled_back(teacher, photographs):
    student = spoilt(teacher, 0.5, 0.1, 0.4)
    found = calibrate(student, teacher, photographs, (SIZE, SIZE))
    assert found.iou_factor == pytest.approx(2, rel=1e-3)
    assert found.iou_offset == pytest.approx(-0.2, abs=1e-3)
    assert found.logit_factor == pytest.approx(2.5, rel=0.02)
    assert found.photographs == 2
    images = torch.zeros(1, 3, SIZE, SIZE)
    points, labels = torch.tensor([[[90.0, 120.0]]]), torch.ones(1, 1, dtype=torch.long)
    with torch.no_grad():
        own, wanted = (model.decode(model.encode(images), points, labels) for model in (student, teacher))
    assert torch.allclose(own.iou, wanted.iou, atol=2e-3)


def test_no_mask_changes_and_none_overtakes_another(teacher, photographs):
    before = spoilt(teacher, 0.5, 0.1, 0.4)
    after = copy.deepcopy(before)
    calibrate(after, teacher, photographs[:1], (SIZE, SIZE))
    points = np.array([[[100.0, 80.0]], [[200.0, 150.0]]])
    answers = []
    for model in (before, after):
        predictor = samlet.Predictor(model, SIZE)
        predictor.set_image(photographs[1])
        answers.append(predictor.predict(points, multimask=True))
    assert (answers[0].masks != answers[1].masks).mean() < 1e-5
    assert (answers[0].iou.argsort() == answers[1].iou.argsort()).all()
    assert answers[1].stability.mean() > answers[0].stability.mean() + 0.05


def test_a_head_before_a_sigmoid_is_scaled_before_it(photographs):
    teacher = make_hiera()
    found = calibrate(spoilt(teacher, 0.5, 0.1, 1.0), teacher, photographs[:1], (128, 128))
    assert found.iou_factor == pytest.approx(2, rel=1e-2)


def test_answers_that_are_all_alike_are_refused(teacher, photographs):
    with pytest.raises(InputError, match="the same IoU for every mask"):
        calibrate(spoilt(teacher, 0.0, 0.5, 1.0), teacher, photographs[:1], (SIZE, SIZE))
    with pytest.raises(InputError, match="no photograph"):
        calibrate(copy.deepcopy(teacher), teacher, [], (SIZE, SIZE))


def test_distill_calibrates_and_says_so(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    samlet.save(spoilt(make_tiny(), 0.5, 0.1, 0.5), tmp_path / "student")
    samlet.save(make_tiny(), tmp_path / "teacher")
    out = tmp_path / "out"
    command = ["distill", "--teacher", str(tmp_path / "teacher"), "--student", str(tmp_path / "student"), "--json"]
    command += ["--data", str(data), "--out", str(out), "--steps", "1", "--image-size", "64", "--prompts", "4"]
    command += ["--embedding-weight", "0", "--token-weight", "0", "--output-weight", "0", "--no-hard-masks"]
    assert main([*command, "--learning-rate", "1e-9", "--calibrate", "3"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["calibration"]["iou_factor"] == pytest.approx(2, rel=0.05)
    assert said["calibration"]["photographs"] == 3
    assert "predicted IoU × 2" in (out / "report.md").read_text()
    head = samlet.load(out).mask_decoder.iou_prediction_head.layers[-1]
    own = make_tiny().mask_decoder.iou_prediction_head.layers[-1]
    assert torch.allclose(head.weight, own.weight, rtol=0.05, atol=1e-4)
