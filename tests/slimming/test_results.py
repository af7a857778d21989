"""What a run says and hands back: its size, what cannot be exported, figures and pictures beside the model."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import sys

import pytest

import samlet
from samlet.checkpoints import check_format
from samlet.checkpoints.storage import storage_of
from samlet.models import SamConfig
from samlet.slimming.config import SlimConfig
from samlet.slimming.stages import not_exported
from tests.conftest import make_repvit, make_tiny, make_vit

TINY = {"steps": 2, "image_size": 64, "scoring_images": 2, "recovery_images": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def slimmed(tmp_path_factory):
    """A model slimmed at another size than its teacher's, stored as int8; what was said; its folder."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("slimmed")
    (folder / "pictures").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(folder / "pictures" / f"{number}.png")
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        made = samlet.slim(make_vit(), folder / "pictures", out=folder / "out", store="int8", **TINY)
        said = sys.stderr.getvalue()
    finally:
        sys.stderr = before
    return made, said, folder / "out"


def test_both_image_sizes_are_kept(slimmed):
    made, _, folder = slimmed
    for sam in (made, samlet.load(folder)):
        assert sam.config.trained_image_size == 64
        assert sam.image_size == sam.check_image_size(None) == 128
        assert "input: 128 x 128 pixels, longest_side; trained at 64" in repr(sam)
    report = (folder / "report.md").read_text()
    assert "Aligned at 64 px, kept as `trained_image_size`" in report
    assert "one image costs 4 times as much" in report
    assert SamConfig.from_dict(made.config.to_dict()) == made.config


def test_a_config_of_before_has_the_form_that_it_had():
    config = make_tiny().config
    assert "trained_image_size" not in config.to_dict()
    assert SamConfig.from_dict(config.to_dict()).trained_image_size is None
    with pytest.raises(samlet.InputError, match="image size 65 is not allowed"):
        SamConfig.from_dict({**config.to_dict(), "trained_image_size": 65})


def test_the_figures_are_of_what_was_stored(slimmed):
    made, _, folder = slimmed
    assert storage_of(folder) == "int8"
    assert made.fingerprint() == samlet.load(folder).fingerprint()
    told = json.loads((folder / "provenance.json").read_text())["figures"]
    assert told["weights_bytes"]["int8"] < told["weights_bytes"]["float32"] < told["teacher_weights_bytes"]["float32"]
    assert "as int8" in (folder / "report.md").read_text()


def test_a_result_has_figures_and_pictures(slimmed):
    made, _, folder = slimmed
    found = made.result
    assert found.figures["agreement"] == json.loads((folder / "provenance.json").read_text())["figures"]["agreement"]
    assert "pruned, aligned" in found.table
    assert found.table in repr(found)
    assert str(folder / "report.md") in repr(found)
    assert set(found.pictures) == {"comparison", "losses", "widths"}
    assert found.picture("widths").width > 300
    with pytest.raises(KeyError, match="expected one of comparison, losses, widths"):
        found.picture("loss")
    assert copy.deepcopy(made).result is None
    assert copy.deepcopy(made).provenance is None


def test_without_a_folder_figures_are_measured_when_they_are_asked_for(photo_folder, monkeypatch):
    measured = []
    keep = samlet.slimming.figures.evaluate
    monkeypatch.setattr("samlet.slimming.figures.evaluate", lambda *a, **k: measured.append(1) or keep(*a, **k))
    made = samlet.slim(make_tiny(), photo_folder, **{**TINY, "steps": 0})
    assert "when they are asked for" in repr(made.result)
    assert not measured
    assert 0 <= made.result.figures["agreement"]["aligned"] <= 1
    assert len(measured) == 2
    assert "teacher" in made.result.table
    assert len(measured) == 2


def test_a_slimmed_model_prints_ten_lines(slimmed):
    _, _, folder = slimmed
    lines = repr(samlet.load(folder)).splitlines()
    assert 8 <= len(lines) <= 11
    text = "\n".join(lines)
    for words in ("M parameters", "encoder MACs (modules): ", "agreement with its teacher: ", "origin: SlimSAM"):
        assert words in text
    assert max(map(len, lines)) < 160


def test_the_run_says_its_length_what_cannot_be_exported_and_that_it_measures(slimmed):
    _, said, _ = slimmed
    assert "2 steps of 4 images in 2 stages" in said
    assert "--to segment-anything cannot hold; --ratio with --selection uniform --heads channels" in said
    assert "training is over; measuring cost and agreement on " in said
    assert "\r" not in said
    assert "it/s" not in said


@pytest.mark.parametrize(
    ("settings", "fits"),
    [({}, False), ({"selection": "uniform", "whole_heads": False}, True)],
)
def test_what_is_said_of_a_vit_is_true(settings, fits, photo_folder):
    teacher = make_uniform()
    check_format(teacher, "hugging-face")
    made = samlet.slim(teacher, photo_folder, ratio=0.5, importance="magnitude", **{**TINY, "steps": 0}, **settings)
    told = not_exported(SlimConfig(ratio=0.5, importance="magnitude", **settings), teacher.config.encoder)
    assert bool(told) == (not fits)
    for form in ("hugging-face", "segment-anything"):
        if fits:
            check_format(made, form)
        else:
            with pytest.raises(samlet.InputError, match="irregular"):
                check_format(made, form)


def test_what_is_said_of_other_encoders():
    for make in (make_tiny, make_repvit):
        told = not_exported(SlimConfig(selection="uniform", whole_heads=False), make().config.encoder)
        assert "whatever is chosen here" in told
        assert not_exported(SlimConfig(stage="align"), make().config.encoder) == ""
    for settings in ({"whole_heads": False}, {"selection": "uniform", "whole_heads": True}, {"macs": 0.5}):
        assert "--selection uniform --heads channels" in not_exported(SlimConfig(**settings), make_vit().config.encoder)


def make_uniform():
    """A small ViT that the published code can hold."""
    import torch

    from samlet.models import Sam, ViTConfig
    from tests.conftest import CHANNELS, SMALL_DECODER, randomise

    config = ViTConfig.uniform(image_size=128, embed_dim=32, depth=3, num_heads=4, global_blocks=(2,))
    config = dataclasses.replace(config, out_channels=CHANNELS)
    torch.manual_seed(0)
    sam = Sam(SamConfig(encoder=config, decoder=SMALL_DECODER))
    randomise(sam, 0)
    return sam.eval()
