"""Weights stored in fewer bytes: the same model back, up to rounding, in files of the size that is said."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import samlet
from samlet.checkpoints import STORES
from samlet.checkpoints.storage import storage_of, weight_bytes
from samlet.cli import main
from samlet.cli.parsers import common
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.zoo import locate
from tests.conftest import make_hiera, make_tiny, make_vit

_HEAD = 40_000  # bytes of names and shapes in a file, at most


@pytest.fixture(params=[make_tiny, make_vit, make_hiera], ids=["tiny_vit", "vit", "hiera"])
def sam(request):
    return request.param()


@pytest.mark.parametrize("store", STORES)
def test_what_is_stored_is_read_back_everywhere(sam, store, tmp_path):
    samlet.save(sam, tmp_path / "m", store=store)
    back = samlet.load(tmp_path / "m")
    assert back.config == sam.config
    assert back.dtype == torch.float32
    for name, value in sam.state_dict().items():
        found = back.state_dict()[name]
        most = {"float32": 0.0, "fp16": 2**-11, "int8": 0.02}[store]
        assert float((found - value).norm()) <= most * float(value.norm()), name
    size = (tmp_path / "m" / "model.safetensors").stat().st_size
    assert 0 <= size - weight_bytes(sam)[store] < _HEAD
    assert storage_of(tmp_path / "m") == store
    assert json.loads((tmp_path / "m" / "config.json").read_text())["weights"] == store


def test_smaller_is_smaller_and_storing_twice_changes_nothing_more(tmp_path):
    sam = make_vit()
    sizes = weight_bytes(sam)
    assert sizes["int8"] < sizes["fp16"] < 0.6 * sizes["float32"]
    samlet.save(sam, tmp_path / "a", store="int8")
    once = samlet.load(tmp_path / "a")
    samlet.save(once, tmp_path / "b", store="int8")
    twice = samlet.load(tmp_path / "b")
    for name, value in once.state_dict().items():
        assert torch.allclose(twice.state_dict()[name], value, rtol=1e-5, atol=1e-7), name


def test_where_a_model_comes_from_is_saved_with_it(tmp_path):
    samlet.save(make_tiny(), tmp_path / "a", provenance={"method": "by hand", "parents": []})
    samlet.save(samlet.load(tmp_path / "a"), tmp_path / "b", store="int8")
    found = json.loads((tmp_path / "b" / "provenance.json").read_text())
    assert found["method"] == "by hand"
    assert found["versions"]["samlet"] == samlet.__version__


def test_the_bundled_model_is_stored_by_the_same_encoding():
    folder = locate("samlet_s")
    stored = load_file(folder / "model.safetensors")
    assert (
        sum(value.numel() * value.element_size() for value in stored.values())
        == weight_bytes(samlet.load(folder))["int8"]
    )
    assert storage_of(folder) == "int8"
    sizes = weight_bytes(samlet.load(folder))
    assert sizes["int8"] < 0.3 * sizes["float32"]
    assert sizes["fp16"] < 0.51 * sizes["float32"]


def test_files_of_others_say_what_they_are_stored_as(tmp_path):
    sam = make_tiny()
    torch.save(sam.state_dict(), tmp_path / "m.pth")
    torch.save({name: value.half() for name, value in sam.state_dict().items()}, tmp_path / "h.pth")
    samlet.save(make_vit(), tmp_path / "m")
    assert storage_of(tmp_path / "m.pth") == "float32"
    assert storage_of(tmp_path / "h.pth") == "fp16"
    assert storage_of(tmp_path / "m" / "model.safetensors") == "float32"
    (tmp_path / "text.pth").write_text("no weights")
    assert storage_of(tmp_path / "text.pth") is None
    assert storage_of(tmp_path / "nothing") is None


def test_what_cannot_be_stored_is_said(tmp_path, photo_folder):
    sam = make_tiny()
    with pytest.raises(samlet.InputError, match="store is 'int4'; expected one of float32, fp16, int8"):
        samlet.save(sam, tmp_path / "m", store="int4")
    with pytest.raises(samlet.InputError, match="float32; use format native"):
        samlet.save(sam, tmp_path / "m.pth", format="mobile-sam", store="fp16")
    with torch.no_grad():
        sam.mask_decoder.transformer.layers[0].mlp.lin1.weight[0, 0] = 1e5
    with pytest.raises(samlet.InputError, match=r"mlp.lin1.weight holds 1e\+05.* Store it as float32 or int8"):
        samlet.save(sam, tmp_path / "m", store="fp16")
    few = QuantConfig(
        calibration_images=1, prompts=2, candidates=2, rounds=1, samples=16, metric="mse", image_size=64,
        keep_float=("mask_decoder.*", "image_encoder.layers.1.*"),
    )  # fmt: skip
    quantized = run_quantization(make_tiny(), sorted(photo_folder.iterdir()), few, progress=False).sam
    with pytest.raises(samlet.InputError, match="quantized layers, which storage as int8 cannot hold"):
        samlet.save(quantized, tmp_path / "m", store="int8")
    assert weight_bytes(quantized) is None
    samlet.save(quantized, tmp_path / "q")
    assert storage_of(tmp_path / "q") == "quantized"
    content = json.loads((tmp_path / "q" / "config.json").read_text())
    (tmp_path / "q" / "config.json").write_text(json.dumps({**content, "weights": "int2"}))
    with pytest.raises(samlet.CheckpointError, match="'int2'; expected one of float32, fp16, int8"):
        samlet.load(tmp_path / "q")


def test_the_command(tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m", provenance={"method": "by hand", "parents": [{"name": "nobody"}]})
    out = tmp_path / "int8"
    words = ["save", str(tmp_path / "m"), "--store", "int8", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["store"], found["source"]["store"]) == ("int8", "float32")
    assert found["file_bytes"] < 0.6 * found["source"]["file_bytes"]
    assert 0 < found["weights_error"] < 0.01
    told = json.loads((out / "provenance.json").read_text())
    assert told["method"] == "by hand"
    assert told["stored"] == {"from": "m", "as": "int8"}
    assert "origin: by hand, from nobody" in repr(samlet.load(out))
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert " MB as int8 from " in capsys.readouterr().out
    assert main(["cost", str(out), "--no-measure"]) == 0
    shown = capsys.readouterr().out
    assert "MB as int8\n" in shown
    assert "MB as float32" in shown


def test_the_help_says_the_same():
    assert common.STORES.keys() == STORES.keys()
