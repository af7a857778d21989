"""Weights that are no numbers."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.cli import main
from samlet.export.config import ExportConfig
from samlet.export.verification import Figures, refusals
from samlet.io import jsons
from samlet.models import Sam, SamConfig, ViTConfig
from tests.conftest import PHOTOS, make_tiny, randomise


def plain_vit() -> Sam:
    config = ViTConfig.uniform(embed_dim=32, depth=2, num_heads=2, global_blocks=(0,), image_size=64)
    sam = Sam(SamConfig(encoder=config))
    randomise(sam)
    return sam.eval()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("form", ["native", "segment-anything", "hugging-face"])
def test_the_first_tensor_that_is_not_finite_is_named(tmp_path, value, form):
    path = tmp_path / ("sam.pth" if form == "segment-anything" else "sam")
    samlet.save(plain_vit(), path, format=form)
    file = path if path.is_file() else path / "model.safetensors"
    tensors = torch.load(file) if path.is_file() else load_file(file)
    name = next(name for name in tensors if "blocks.1.attn.proj.weight" in name or "layers.1.attn.proj.weight" in name)
    tensors[name].view(-1)[3] = value
    torch.save(tensors, file) if path.is_file() else save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(samlet.CheckpointError, match="NaN or infinite") as found:
        load_checkpoint(path)
    assert name in str(found.value)


def test_double_precision_that_single_does_not_hold(tmp_path):
    tensors = {name: value.double() for name, value in plain_vit().state_dict().items()}
    samlet.save(plain_vit(), tmp_path / "sam.pth", format="segment-anything")
    tensors = {name: value.double() for name, value in torch.load(tmp_path / "sam.pth").items()}
    tensors["mask_decoder.iou_token.weight"][0, 0] = 1e300
    torch.save(tensors, tmp_path / "sam.pth")
    with pytest.raises(samlet.CheckpointError, match=r"mask_decoder\.iou_token\.weight"):
        load_checkpoint(tmp_path / "sam.pth")


def test_a_model_that_answers_nan_ends_with_an_error(tmp_path):
    sam = plain_vit()
    with torch.no_grad():
        sam.mask_decoder.mask_tokens.weight.fill_(math.nan)
    predictor = samlet.Predictor(sam)
    predictor.set_image(PHOTOS / "dogs.jpg")
    with pytest.raises(samlet.SamletError, match="not finite"):
        predictor.predict(points=[[20, 20]])
    with torch.no_grad():
        next(sam.image_encoder.parameters()).fill_(math.nan)
    for run in (predictor.set_image, samlet.MaskGenerator(sam)):
        with pytest.raises(samlet.SamletError, match="finite"):
            run(PHOTOS / "dogs.jpg")
    from samlet.export.pipeline import export_model

    with pytest.raises(samlet.SamletError, match="finite"):
        export_model(sam, tmp_path / "out", "segment-anything")
    assert not (tmp_path / "out").exists()


def test_the_gate_refuses_what_says_nothing():
    config = ExportConfig(to="onnx")
    good = {"agreement": 1.0, "worst": 1.0, "prompts": 8, "embedding_sqnr": 90.0}
    assert not refusals(Figures(**good), config)
    for change, said in (
        ({"embedding_sqnr": math.nan}, "embedding_sqnr is nan"),
        ({"worst": math.nan}, "worst is nan"),
        ({"agreement": math.nan}, "agreement is nan"),
        ({"drawn": 0.0}, "all empty"),
    ):
        assert any(said in reason for reason in refusals(Figures(**{**good, **change}), config)), change


def test_a_model_whose_masks_are_all_empty_is_not_exported(tmp_path):
    sam = plain_vit()
    with torch.no_grad():
        for network in sam.mask_decoder.output_hypernetworks_mlps:
            network.layers[-1].weight.zero_()
            network.layers[-1].bias.zero_()
    from samlet.export.pipeline import export_model

    with pytest.raises(samlet.SamletError, match="all empty"):
        export_model(sam, tmp_path / "out", "segment-anything", image_size=64)


def test_json_has_neither_nan_nor_infinity(tmp_path, capsys):
    content = {"a": [math.nan, 1.5, {"b": math.inf}], "c": (-math.inf,)}
    expected = {"a": [None, 1.5, {"b": "inf"}], "c": ["-inf"]}
    assert json.loads(jsons.dumps(content), parse_constant=pytest.fail) == expected
    samlet.save(make_tiny(), tmp_path / "m")
    arguments = ["--everything", "--strategy", "hierarchical", "--points-per-side", "2", "--high-threshold", "inf"]
    arguments += ["--model", str(tmp_path / "m"), "--workers", "1", "--out", str(tmp_path / "o"), "--json"]
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "dogs.jpg").write_bytes((PHOTOS / "dogs.jpg").read_bytes())
    for _ in range(2):  # the second run continues the first
        assert main(["segment", str(tmp_path / "p"), *arguments]) == 0
        json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    json.loads((tmp_path / "o" / "run.json").read_text(), parse_constant=pytest.fail)
