"""TinyViT against the published graph's answers, and against the straightforward module tree."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import samlet
from samlet.models import Sam
from samlet.zoo import find
from tests.conftest import ROOT, make_tiny, randomise

sys.path.insert(0, str(ROOT / "benchmarks"))
from plain_tiny_vit import PlainTinyViT


@pytest.fixture(scope="module")
def predictor(shared):
    predictor = samlet.Predictor(samlet.load(shared / "weights" / "mobile_sam.safetensors"))
    predictor.set_image(shared / "data" / "photos" / "truck.jpg")
    return predictor


@pytest.fixture(scope="module")
def vectors(shared):
    return np.load(shared / "vectors" / "mobile_sam_truck.npz")


def prompt_of(vectors, name):
    """The oracle's prompt, and whether the oracle picks from the multimask outputs."""
    coords, labels = vectors[f"{name}.coords"], vectors[f"{name}.labels"].astype(int)
    clicks = labels < 2
    given = {}
    if clicks.any():
        given |= {"points": coords[clicks], "labels": labels[clicks]}
    if not clicks.all():
        given["boxes"] = coords[~clicks].reshape(1, 4)
    tokens = len(coords) + (1 if clicks.all() else 0)  # a filler point joins prompts without a box
    return given, tokens <= 2


PROMPTS = ("point", "two_points", "box", "box_and_negative")


def test_embedding_is_the_published_one(predictor, vectors):
    assert np.abs(predictor.embedding[0].numpy() - vectors["image_embedding"]).max() < 1e-4


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_are_the_published_ones(predictor, vectors, name):
    given, multimask = prompt_of(vectors, name)
    answer = predictor.predict(**given, multimask=multimask).best()
    assert np.abs(answer.low_res[0] - vectors[f"{name}.low_res"]).max() < 0.05
    assert abs(answer.iou[0, 0] - vectors[f"{name}.iou"][0]) < 1e-3
    assert answer.masks.sum() == vectors[f"{name}.mask_area"]


def test_embedded_weights_agree_with_the_float_ones(predictor, vectors, shared):
    embedded = samlet.Predictor(samlet.load("mobile_sam"))
    embedded.set_image(shared / "data" / "photos" / "truck.jpg")
    for name in PROMPTS:
        given, multimask = prompt_of(vectors, name)
        a = predictor.predict(**given, multimask=multimask).best().masks[0, 0]
        b = embedded.predict(**given, multimask=multimask).best().masks[0, 0]
        assert (a & b).sum() / (a | b).sum() >= 0.99, name


def test_equals_the_straightforward_tree_with_its_batch_norms(tmp_path):
    plain = PlainTinyViT().eval()
    randomise(plain)
    with torch.no_grad():
        for module in plain.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    rest = {k: v for k, v in Sam(find("mobile_sam").sam_config()).state_dict().items() if "image_encoder" not in k}
    published = {f"image_encoder.{name}": value for name, value in plain.state_dict().items()} | rest
    torch.save({"model": published}, tmp_path / "mobile_sam.pt")
    ours = samlet.load(tmp_path / "mobile_sam.pt")
    image = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = plain(image), ours.encode(image)
    assert expected.std() > 0.1
    assert (expected - found).abs().max() < 1e-4


def test_strips_change_nothing(monkeypatch):
    encoder = make_tiny().image_encoder.requires_grad_(False)
    image = torch.randn(2, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    whole = encoder(image)
    for elements in (1, 5000, 1 << 20):
        monkeypatch.setattr("samlet.models.chunking._STRIP_ELEMENTS", elements)
        with torch.no_grad():
            assert torch.allclose(encoder(image), whole, atol=1e-5)
