"""Every row of the zoo: told, counted, and run; at its full size where there is time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samlet
from samlet.models import Sam
from samlet.zoo import ENTRIES, locate

ARCHITECTURES = ["mobile_sam", "sam_vit_b", "slimsam_50_uniform", "slimsam_77_uniform", "edge_sam", "efficient_sam_ti"]
PAPERS = {
    "sam_vit_b",
    "sam_vit_l",
    "sam_vit_h",
    "slimsam_50_uniform",
    "slimsam_77_uniform",
    "slimsam_50",
    "slimsam_77",
    "mobile_sam",
    "tinysam",
    "q_tinysam",
    "edge_sam",
    "edge_sam_3x",
    "efficient_sam_ti",
    "efficient_sam_s",
    "fast_sam_s",
    "fast_sam_x",
}


SAM2 = {f"{version}_hiera_{size}" for version in ("sam2", "sam2.1") for size in ("tiny", "small", "base_plus", "large")}


OWN = {"samlet_s", "samlet_m"}


def test_all_systems_of_the_papers_are_there_and_sam2():
    assert ENTRIES.keys() == PAPERS | SAM2 | OWN
    for entry in ENTRIES.values():
        assert entry.licence
        assert entry.published or entry.name in SAM2 | OWN
        assert entry.embedded or entry.repository or entry.bring
        assert bool(entry.repository) == bool(entry.files)


@pytest.mark.parametrize("size", [64, pytest.param(1024, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_forward_pass(name, size):
    torch.manual_seed(0)
    sam = Sam(ENTRIES[name].sam_config()).eval()
    assert sam.image_size == 1024
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    predictor = samlet.Predictor(sam, size)
    predictor.set_image(image)
    assert predictor.embedding.shape == (1, 256, size // 16, size // 16)
    assert torch.allclose(predictor.embedding.mean(1), torch.zeros(()), atol=1e-4)  # what a neck of new weights gives
    assert torch.allclose(predictor.embedding.var(1, correction=0), torch.ones(()), atol=1e-2)
    for prompt in ({"points": [[100, 200]]}, {"boxes": [20, 30, 300, 250]}):
        answer = predictor.predict(**prompt)
        assert answer.masks.shape == (1, 3, 300, 400)
        assert answer.low_res.shape == (1, 3, size // 4, size // 4)
        assert np.isfinite(answer.iou).all()
        assert np.isfinite(answer.low_res).all()
    if size < 1024:
        options = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "exact": True}
        assert samlet.MaskGenerator(sam, image_size=size, **options)(image).decoder_prompts == 4


@pytest.mark.parametrize("name", ["slimsam_50", "slimsam_77", "q_tinysam", "fast_sam_s", "fast_sam_x"])
def test_what_cannot_be_fetched_says_how_to_get_it(name):
    with pytest.raises(samlet.InputError, match=r"cannot be fetched: .*github\.com"):
        locate(name)


def test_a_licence_that_forbids_selling_is_shown_before_anything_is_fetched(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SAMLET_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(samlet.SamletError):
        locate("edge_sam")
    assert "non-commercial" in capsys.readouterr().err


def test_a_graph_where_a_model_is_wanted(tmp_path):
    (tmp_path / "FastSAM-s.onnx").write_bytes(b"x")
    for path in (tmp_path / "FastSAM-s.onnx", tmp_path):
        with pytest.raises(samlet.InputError, match=r"ONNX graph.*evaluate"):
            samlet.load(path)
