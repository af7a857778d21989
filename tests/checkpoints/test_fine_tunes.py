"""Fine-tunes as people have them: prefixes, dictionaries round the weights, parts, pixel statistics, other outputs."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.checkpoints.reading import StateDict
from samlet.models import DecoderConfig, Sam, SamConfig, ViTConfig
from tests.conftest import randomise


def plain_vit(**decoder: int) -> Sam:
    config = ViTConfig.uniform(embed_dim=32, depth=2, num_heads=2, global_blocks=(0,), image_size=64)
    sam = Sam(SamConfig(encoder=config, decoder=DecoderConfig(**decoder)))
    randomise(sam)
    return sam.eval()


@pytest.fixture(scope="module")
def sam() -> Sam:
    return plain_vit()


@pytest.fixture
def weights(sam) -> StateDict:
    return {name: value.clone() for name, value in sam.state_dict().items()}


def same(a: Sam, b: Sam) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "model.", "sam.", "module.", "model.sam.", "module._orig_mod.net.sam_model."]
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_any_common_prefix(sam, weights, tmp_path, prefix, ending, capsys):
    wrapped = {prefix + name: value for name, value in weights.items()}
    path = tmp_path / f"x.{ending}"
    torch.save(wrapped, path) if ending == "pth" else save_file(wrapped, path)
    found = load_checkpoint(path)
    assert same(found, sam)
    rest = prefix.replace("module.", "").replace("_orig_mod.", "")
    assert (repr(rest) in capsys.readouterr().err) == bool(rest)
    if rest:
        samlet.save(found, tmp_path / "saved")
        said = json.loads((tmp_path / "saved" / "provenance.json").read_text())["read"]
        assert any(repr(rest) in one for one in said)


KEYS = ["net", "model_state", "model_state_dict", "ema", "state_dict_ema", "state_dict", "model"]


@pytest.mark.parametrize("key", KEYS)
def test_dictionaries_round_the_weights(sam, weights, tmp_path, key):
    torch.save({key: weights, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, tmp_path / "x.pt")
    assert same(load_checkpoint(tmp_path / "x.pt"), sam)


def test_what_is_beside_the_weights_is_named(sam, weights, tmp_path, capsys):
    extra = {"out_conv.weight": torch.zeros(2, 2)}
    content = {"model_state": {f"sam.{k}": v for k, v in weights.items()}, "decoder_state": extra, "iteration": 7}
    torch.save(content, tmp_path / "micro.pt")
    assert same(load_checkpoint(tmp_path / "micro.pt"), sam)
    said = capsys.readouterr().err
    assert "decoder_state left out" in said
    assert "'sam.' is stripped" in said


def test_lightning(sam, weights, tmp_path, capsys):
    state = {f"model.{k}": v for k, v in weights.items()} | {"loss.weight": torch.ones(3)}
    content = {
        "state_dict": state,
        "pytorch-lightning_version": "2.1.0",
        "hyper_parameters": argparse.Namespace(lr=0.1, folder=tmp_path),
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
    }
    torch.save(content, tmp_path / "x.ckpt")
    assert same(load_checkpoint(tmp_path / "x.ckpt"), sam)
    assert "1 others left out (loss.weight)" in capsys.readouterr().err


def test_two_models_in_one_file_are_refused(weights, tmp_path):
    torch.save({f"{who}.{k}": v for who in ("student", "teacher") for k, v in weights.items()}, tmp_path / "x.pt")
    with pytest.raises(samlet.CheckpointError, match=r"several models \(student\., teacher\.\)"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["bin", "shards", "bin shards"])
def test_hugging_face_folders_of_other_files(sam, tmp_path, kind):
    folder = tmp_path / "hf"
    samlet.save(sam, folder, format="hugging-face")
    file = folder / "model.safetensors"
    from safetensors.torch import load_file

    theirs = load_file(file)
    file.unlink()
    if kind == "bin":
        torch.save(theirs, folder / "pytorch_model.bin")
    else:
        stem, ending = ("pytorch_model", "bin") if "bin" in kind else ("model", "safetensors")
        names = sorted(theirs)
        places = {name: f"{stem}-0000{1 + (i % 2)}-of-00002.{ending}" for i, name in enumerate(names)}
        for place in sorted(set(places.values())):
            part = {name: theirs[name].clone() for name in names if places[name] == place}
            torch.save(part, folder / place) if ending == "bin" else save_file(part, folder / place)
        (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert same(load_checkpoint(folder), sam)
    if kind != "bin":
        next(iter(folder.glob("*-00002-of-*"))).unlink()
        with pytest.raises(samlet.CheckpointError, match=r"lacks .*00002-of-00002"):
            load_checkpoint(folder)


def test_shards_outside_the_folder_are_refused(sam, tmp_path):
    samlet.save(sam, tmp_path / "hf", format="hugging-face")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "away.safetensors")
    index = {"weight_map": {"a": "../away.safetensors"}}
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(samlet.CheckpointError, match="same folder"):
        load_checkpoint(tmp_path / "hf")


def test_another_number_of_mask_outputs(tmp_path, capsys):
    five = plain_vit(num_multimask_outputs=4)
    torch.save(five.state_dict(), tmp_path / "five.pth")
    found = load_checkpoint(tmp_path / "five.pth")
    assert same(found, five)
    assert "5 mask outputs" in capsys.readouterr().err
    one = dict(plain_vit().state_dict())
    one["mask_decoder.mask_tokens.weight"] = one["mask_decoder.mask_tokens.weight"][:1]
    torch.save(one, tmp_path / "one.pth")
    with pytest.raises(samlet.CheckpointError, match="1 mask outputs; expected 4"):
        load_checkpoint(tmp_path / "one.pth")


def test_pixel_statistics_of_a_checkpoint(weights, tmp_path):
    weights["pixel_mean"], weights["pixel_std"] = torch.tensor([1.0, 2, 3]).view(3, 1, 1), torch.full((3, 1, 1), 50.0)
    torch.save(weights, tmp_path / "x.pth")
    found = load_checkpoint(tmp_path / "x.pth")
    assert (found.config.pixel_mean, found.config.pixel_std) == ((1, 2, 3), (50, 50, 50))
    assert found.pixel_mean.flatten().tolist() == [1, 2, 3]
    weights.pop("pixel_std")
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(samlet.CheckpointError, match="expected pixel_mean and pixel_std"):
        load_checkpoint(tmp_path / "x.pth")


def test_pixel_statistics_of_a_folder(sam, tmp_path):
    samlet.save(sam, tmp_path / "hf", format="hugging-face")
    path = tmp_path / "hf" / "preprocessor_config.json"
    said = json.loads(path.read_text())
    assert said["size"] == {"longest_edge": 64}
    assert said["pad_size"] == {"height": 64, "width": 64}
    assert said["mask_size"] == {"longest_edge": 16}
    assert said["image_mean"] == pytest.approx([0.485, 0.456, 0.406])
    found = load_checkpoint(tmp_path / "hf").config
    assert found.pixel_mean == pytest.approx(sam.config.pixel_mean)
    assert found.pixel_std == pytest.approx(sam.config.pixel_std)

    def read(**change):
        path.write_text(json.dumps({**said, **change}))
        return load_checkpoint(tmp_path / "hf").config

    other = read(image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25])
    assert (other.pixel_mean, other.pixel_std) == ((127.5,) * 3, (63.75,) * 3)
    plain = read(do_normalize=False)
    assert (plain.pixel_mean, plain.pixel_std) == ((0.0,) * 3, (255.0,) * 3)
    raw = read(rescale_factor=1.0, image_mean=[100, 100, 100], image_std=[50, 50, 50])
    assert (raw.pixel_mean, raw.pixel_std) == ((100.0,) * 3, (50.0,) * 3)
    for change in ({"size": {"longest_edge": 512}}, {"image_mean": [1]}, {"rescale_factor": 0}, {"do_resize": False}):
        with pytest.raises(samlet.CheckpointError, match="preprocessor_config"):
            read(**change)


def test_transformers_processor_reads_what_is_written(sam, tmp_path):
    transformers = pytest.importorskip("transformers")
    samlet.save(sam, tmp_path / "hf", format="hugging-face")
    processor = transformers.SamProcessor.from_pretrained(tmp_path / "hf")
    import numpy as np

    from samlet.data.transforms import preprocess

    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    given = processor(images=image, return_tensors="pt")["pixel_values"]
    ours, _ = preprocess(image, 64, *sam.preprocessing)
    assert torch.allclose(given[0], ours, atol=1e-4)
