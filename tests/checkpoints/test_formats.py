"""Every format both ways."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import samlet
from samlet.io.writing import MODEL_FILES, new_folder
from samlet.models import Sam, SamConfig, TinyViTConfig, ViTConfig
from samlet.slimming.surgery import cut_encoder, with_encoder
from tests.conftest import CHANNELS, make_tiny, make_vit, randomise


def plain_vit() -> Sam:
    config = ViTConfig.uniform(embed_dim=32, depth=2, num_heads=2, global_blocks=(1,), image_size=512)
    sam = Sam(SamConfig(encoder=dataclasses.replace(config, out_channels=CHANNELS)))
    randomise(sam)
    return sam.eval()


def plain_tiny() -> Sam:
    heads = ((1,) * 2, (1,) * 6, (2,) * 2)
    config = TinyViTConfig(embed_dims=(16, 32, 32, 64), num_heads=heads, out_channels=CHANNELS)
    sam = Sam(SamConfig(encoder=config))
    randomise(sam)
    return sam.eval()


def same(a: Sam, b: Sam) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return a.config == b.config and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_native_round_trip(small_sam, tmp_path):
    samlet.save(small_sam, tmp_path / "m", provenance={"teacher": "none"})
    assert same(samlet.load(tmp_path / "m"), small_sam)
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"config.json", "model.safetensors", "provenance.json"}
    provenance = json.loads((tmp_path / "m" / "provenance.json").read_text())
    assert provenance["teacher"] == "none"
    assert provenance["versions"]["samlet"] == samlet.__version__


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_segment_anything_round_trip(tmp_path, name):
    sam = plain_vit()
    samlet.save(sam, tmp_path / name, format="segment-anything")
    assert same(samlet.load(tmp_path / name), sam)


@pytest.mark.parametrize("make", [plain_tiny, make_tiny])
def test_mobile_sam_round_trip(tmp_path, make):
    sam = make()
    if make is make_tiny:  # pruned widths, but the widest head is the original one
        assert max(max(stage) for stage in sam.config.encoder.qk_dims) != sam.config.encoder.scale_dim
        with pytest.raises(samlet.InputError, match="attention scale"):
            samlet.save(sam, tmp_path / "m.pt", format="mobile-sam")
        return
    samlet.save(sam, tmp_path / "m.pt", format="mobile-sam")
    again = samlet.load(tmp_path / "m.pt")
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(again.encode(image), sam.encode(image), atol=1e-5)
    published = torch.load(tmp_path / "m.pt", weights_only=True)
    assert published["image_encoder.patch_embed.seq.0.bn.running_var"].shape == (32,)


def test_hugging_face_round_trip(tmp_path):
    sam = plain_vit()
    samlet.save(sam, tmp_path / "hf", format="hugging-face")
    assert same(samlet.load(tmp_path / "hf"), sam)


def test_shared_weights_are_read(shared):
    sam = samlet.load(shared / "weights" / "mobile_sam.safetensors")
    assert sam.config.encoder == TinyViTConfig()


def test_irregular_widths_reload_bit_equal_in_a_fresh_process(tmp_path):
    """Which loads them without torch's compiler: that alone takes seconds."""
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(5))
    expected = {}
    for name, sam in (("vit", make_vit()), ("tiny", make_tiny())):
        kept = {g.name: torch.arange(g.divisor) for g in sam.image_encoder.channel_groups()}
        cut = with_encoder(sam, cut_encoder(sam.image_encoder, kept))
        samlet.save(cut, tmp_path / name)
        with torch.no_grad():
            expected[name] = cut.encode(image)
    torch.save([image, expected], tmp_path / "expected.pt")
    code = (
        "import sys, torch, samlet\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "loaded = {name: samlet.load(f'{sys.argv[1]}/{name}') for name in ('vit', 'tiny')}\n"
        "assert not {'torch._dynamo', 'sympy'} & sys.modules.keys()\n"
        "image, expected = torch.load(f'{sys.argv[1]}/expected.pt', weights_only=True)\n"
        "with torch.no_grad():\n"
        "    assert all(torch.equal(sam.encode(image), expected[name]) for name, sam in loaded.items())\n"
    )
    arguments = [str(tmp_path), str(torch.get_num_threads())]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=dict(os.environ))


@pytest.mark.parametrize("target", ["segment-anything", "hugging-face"])
def test_formats_that_cannot_hold_a_model_say_so(small_sam, tmp_path, target):
    with pytest.raises(samlet.InputError, match=r"native format|ViT family only"):
        samlet.save(small_sam, tmp_path / "m.pth", format=target)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(small_sam, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.tex").write_text("years of work")
    (tmp_path / "m" / "config.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(samlet.InputError, match=r"thesis\.tex"):
            samlet.save(small_sam, tmp_path / "m", overwrite=overwrite)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "thesis.tex"]
    samlet.save(small_sam, tmp_path / "n")
    with pytest.raises(samlet.InputError, match="--overwrite"):
        samlet.save(small_sam, tmp_path / "n")
    samlet.save(small_sam, tmp_path / "n", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "n"]


def test_a_failed_write_leaves_nothing(small_sam, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samlet.io.writing.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        samlet.save(small_sam, tmp_path / "m")
    assert list(Path(tmp_path).iterdir()) == []


def test_links_and_empty_folders_can_be_written_to(small_sam, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    samlet.save(small_sam, tmp_path / "link")
    assert same(samlet.load(tmp_path / "real"), small_sam)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]
    assert len(list((tmp_path / "real").iterdir())) == 3


def test_a_folder_that_fills_up_meanwhile_is_left_alone(tmp_path):
    out = tmp_path / "o"

    def write_while_another_does():
        with new_folder(out, MODEL_FILES) as folder:
            (folder / "config.json").write_text("ours")
            out.mkdir()
            (out / "config.json").write_text("theirs")

    with pytest.raises(samlet.InputError, match="meanwhile"):
        write_while_another_does()
    assert (out / "config.json").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["o"]
