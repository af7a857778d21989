"""The decoder's weights beside its graph."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import samlet
from samlet.errors import CheckpointError
from samlet.models.decoders.full import FullMaskDecoder, prompt_decoder
from samlet.models.decoders.sam.fast import FastMaskDecoder
from samlet.models.quantized import QuantizedLinear
from samlet.quantization.folder import quantize
from samlet.runtimes.manifest import SHARED_WEIGHTS
from samlet.runtimes.shared_weights import read_shared_weights, write_shared_weights
from tests.conftest import PHOTOS


@pytest.fixture
def with_weights(folder, sam, tmp_path):
    """An exported folder with the decoder's weights beside the graphs."""
    shutil.copytree(folder, tmp_path / "model")
    write_shared_weights(sam, tmp_path / "model" / SHARED_WEIGHTS)
    return tmp_path / "model"


def test_many_prompts_share_the_work_and_single_ones_ask_the_graph(folder, with_weights, sam):
    embedding = torch.randn(1, sam.config.encoder.out_channels, 4, 4)
    plain, exported = samlet.load(folder), samlet.load(with_weights)
    assert isinstance(prompt_decoder(exported, embedding), FullMaskDecoder)
    assert isinstance(prompt_decoder(plain, embedding, many=True), FullMaskDecoder)
    shared = prompt_decoder(exported, embedding, many=True)
    assert isinstance(shared, FastMaskDecoder)
    points, labels = torch.rand(5, 1, 2) * 64, torch.ones(5, 1, dtype=torch.long)
    with torch.inference_mode():
        found, expected = (
            decoder.samples(decoder.transform(points, labels)) for decoder in (shared, FastMaskDecoder(sam, embedding))
        )
    assert torch.equal(found, expected)
    assert plain.fingerprint() != exported.fingerprint()


def test_everything_mode_is_that_of_the_source(with_weights, sam):
    options = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    found, expected = (
        samlet.MaskGenerator(model, precision="fp32", **options)(PHOTOS / "cat.jpg")
        for model in (samlet.load(with_weights), sam)
    )
    assert len(found) == len(expected) > 2
    assert [m["point_coords"] for m in found] == [m["point_coords"] for m in expected]


def test_integers_come_back_with_their_steps(sam, tmp_path):
    made = quantize(sam, PHOTOS, metric="minmax", scheme="integer", calibration_images=2, prompts=2, samples=8)
    write_shared_weights(made, tmp_path / "w.safetensors")
    found = read_shared_weights(tmp_path / "w.safetensors", sam.config)
    kinds = {value.dtype for value in load_file(tmp_path / "w.safetensors").values()}
    assert kinds == {torch.int8, torch.float32}
    layers = [(n, m) for n, m in made.mask_decoder.named_modules() if isinstance(m, QuantizedLinear)]
    assert len(layers) > 10
    for name, layer in layers:
        assert torch.equal(found.mask_decoder.get_submodule(name).weight, layer.weight), name
    assert {type(m).__name__ for m in found.mask_decoder.modules()} == {
        type(m).__name__ for m in sam.mask_decoder.modules()
    }


def test_what_is_damaged_is_named(sam, tmp_path):
    path = tmp_path / "w.safetensors"
    write_shared_weights(sam, path)
    tensors = load_file(path)
    name = next(n for n in tensors if n.endswith("q_proj.weight"))
    save_file({**tensors, name: tensors[name].to(torch.int8)}, path)
    with pytest.raises(CheckpointError, match=f"integers in {name.partition('.')[2]} without their steps"):
        read_shared_weights(path, sam.config)
    del tensors[name]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="1 missing"):
        read_shared_weights(path, sam.config)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        read_shared_weights(path, sam.config)
