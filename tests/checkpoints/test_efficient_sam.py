"""EfficientSAM's published files: every name and shape, and the answers of the published modules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.data.transforms import preprocess
from samlet.evaluation.costs import cost
from samlet.models import Sam
from tests.checkpoints.efficient_reference import PublishedEfficientSam

KEYS = Path(__file__).parent / "published"


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    model = PublishedEfficientSam(dim=128, heads=2, depth=2).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    return model


@pytest.fixture(scope="module")
def file(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("efficient") / "efficient_sam.pt"
    torch.save({"model": published.state_dict()}, path)
    return path


@pytest.mark.parametrize(("name", "dim", "heads"), [("ti", 192, 3), ("s", 384, 6)])
def test_names_shapes_and_counts_of_the_published_files(name, dim, heads, tmp_path):
    with torch.device("meta"):
        model = PublishedEfficientSam(dim, heads)
    expected = json.loads((KEYS / f"efficient_sam_{name}.json").read_text())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected
    torch.save({"model": {key: torch.zeros(shape) for key, shape in expected.items()}}, tmp_path / "m.pt")
    sam = load_checkpoint(tmp_path / "m.pt")
    found = cost(sam, measure=False)
    parameters, macs = {"ti": (10_223_204, 102.274e9), "s": (26_413_028, 245.618e9)}[name]
    assert found.parameters == parameters - dim  # the class token's row of the position table is never read
    assert found.encoder.macs_total == pytest.approx(macs, rel=1e-3)


@torch.inference_mode()
def test_answers_are_those_of_the_published_modules(published, file):
    sam = load_checkpoint(file)
    image = torch.rand(1, 3, 256, 256)
    cases = [
        ([[100.0, 40.0]], [1]),
        ([[30.5, 40.0], [200.0, 220.0]], [1, 0]),
        ([[10.0, 20.0], [200.0, 130.0]], [2, 3]),
        ([[10.0, 20.0], [200.0, 130.0], [50.0, 60.0]], [2, 3, 1]),
        ([[float(i), 9.0] for i in range(9)], [1] * 9),
    ]
    embedding = sam.encode((255 * image - sam.pixel_mean) / sam.pixel_std)
    for points, labels in cases:
        expected, low_res, iou = published(image, torch.tensor(points), labels)
        assert torch.allclose(embedding, expected, atol=1e-4)
        clicks = [p for p, label in zip(points, labels, strict=True) if label < 2]
        corners = [p for p, label in zip(points, labels, strict=True) if label >= 2]
        answer = sam.decode(
            embedding,
            torch.tensor([clicks]) if clicks else None,
            torch.tensor([[label for label in labels if label < 2]]) if clicks else None,
            torch.tensor(corners).view(1, 4) if corners else None,
        )
        assert torch.allclose(answer.low_res[0], low_res, atol=1e-3, rtol=1e-3)
        assert torch.allclose(answer.iou[0], iou, atol=1e-4)


def test_padded_prompts_answer_as_alone(file):
    predictor = samlet.Predictor(load_checkpoint(file), 128)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8))
    together = predictor.predict(points=[np.array([[10, 20]]), np.array([[70, 60], [150, 80]])])
    alone = predictor.predict(points=[[10, 20]])
    assert np.allclose(together.low_res[0], alone.low_res[0], atol=1e-4)


def test_the_best_of_three_stands_for_the_single_mask(file):
    predictor = samlet.Predictor(load_checkpoint(file), 128)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8))
    points = np.array([[[10, 20]], [[80, 40]]])
    single = predictor.predict(points=points, multimask=False)
    best = predictor.predict(points=points).best()
    assert np.array_equal(single.masks, best.masks)
    assert np.array_equal(single.iou, best.iou)


def test_images_are_stretched(file):
    sam = load_checkpoint(file)
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    pixels, frame = preprocess(image, 128, *sam.preprocessing)
    unit = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = F.interpolate(unit, (128, 128), mode="bilinear", align_corners=False)[0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(pixels, (expected - mean[:, None, None]) / std[:, None, None], atol=1e-4)
    assert frame.to_input(torch.tensor([[90.0, 50.0]])).tolist() == [[128.0, 128.0]]
    low_res = torch.randn(1, 1, 32, 32)
    assert torch.equal(frame.upscale(low_res), F.interpolate(low_res, (50, 90), mode="bicubic", align_corners=False))


def test_a_native_folder_keeps_everything(file, tmp_path):
    sam = load_checkpoint(file)
    samlet.save(sam, tmp_path / "m")
    again = load_checkpoint(tmp_path / "m")
    assert again.config == sam.config
    assert again.fingerprint() == sam.fingerprint()
    for form in ("segment-anything", "hugging-face", "mobile-sam"):
        with pytest.raises(samlet.InputError):
            samlet.save(sam, tmp_path / form, format=form)


def test_everything_mode(file):
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    options = {"image_size": 128, "points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    grid = samlet.MaskGenerator(load_checkpoint(file), **options)(image)
    exact = samlet.MaskGenerator(load_checkpoint(file), exact=True, **options)(image)
    assert grid
    assert [m["segmentation"] for m in grid] == [m["segmentation"] for m in exact]


def test_mask_prompts_are_refused(file):
    predictor = samlet.Predictor(load_checkpoint(file), 128)
    predictor.set_image(np.zeros((60, 100, 3), np.uint8))
    with pytest.raises(samlet.InputError, match="no mask prompts"):
        predictor.predict(points=[[3, 4]], masks=np.zeros((1, 32, 32), np.float32))


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_damaged_files(published, tmp_path, change):
    state = dict(published.state_dict())
    name = "mask_decoder.iou_prediction_head.fc.bias"
    if change == "missing":
        del state[name]
    elif change == "surplus":
        state["extra"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(7)
    torch.save({"model": state}, tmp_path / "m.pt")
    with pytest.raises(samlet.CheckpointError, match=r"iou_prediction_head\.layers\.2\.bias|extra"):
        load_checkpoint(tmp_path / "m.pt")


def test_groups_cut_as_those_of_sam(file):
    sam = load_checkpoint(file)
    assert isinstance(sam, Sam)
    names = {member.parameter for group in sam.image_encoder.channel_groups() for member in group.members}
    assert names <= {name for name, _ in sam.image_encoder.named_parameters()}
