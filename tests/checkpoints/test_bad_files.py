"""Files that are not what they claim: one clear error each, and nothing of theirs runs."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

import samlet
from samlet.checkpoints import load_checkpoint
from tests.checkpoints.test_formats import plain_tiny, plain_vit
from tests.conftest import make_vit


@pytest.fixture
def vit_file(tmp_path) -> Path:
    path = tmp_path / "sam_vit.pth"
    samlet.save(plain_vit(), path, format="segment-anything")
    return path


def refused(path: Path, *expected: str) -> None:
    with pytest.raises(samlet.CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    for part in (path.name, *expected):
        assert part in message, message
    assert "\n" not in message


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_truncated_torch_file(vit_file, share):
    content = vit_file.read_bytes()
    vit_file.write_bytes(content[: int(len(content) * share)])
    refused(vit_file, "truncated", "again")


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_truncated_safetensors(tmp_path, share):
    path = tmp_path / "m.safetensors"
    samlet.save(plain_tiny(), path, format="mobile-sam")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "not a complete safetensors file")


@pytest.mark.parametrize("name", ["sam.pth", "sam.safetensors", "sam.pt"])
def test_web_page(tmp_path, name):
    path = tmp_path / name
    path.write_text("\n<!DOCTYPE html><html><body>Sign in to continue</body></html>")
    refused(path, "web page", "<!DOCTYPE html>")


def test_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.pth").write_bytes(b"")
    refused(tmp_path / "empty.pth", "empty")
    (tmp_path / "photo.pth").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    refused(tmp_path / "photo.pth", "starts with", "expected")
    with pytest.raises(samlet.InputError, match=r"nothing\.pth is not a file"):
        load_checkpoint(tmp_path / "nothing.pth")


def test_missing_surplus_and_misshapen_keys(vit_file):
    state = torch.load(vit_file, weights_only=True)
    del state["mask_decoder.iou_token.weight"]
    state["mask_decoder.extra"] = torch.zeros(1)
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 7)
    torch.save(state, vit_file)
    refused(
        vit_file,
        "1 missing (mask_decoder.iou_token.weight)",
        "1 surplus (mask_decoder.extra)",
        "prompt_encoder.no_mask_embed.weight is (1, 7), expected (1, 32)",
    )


def test_another_architecture(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}, path)
    refused(path, "conv1.weight", "no architecture that samlet knows")
    torch.save(["a", "list"], path)
    refused(path, "list", "expected a state dict")
    torch.save({"epoch": 3, "conv1.weight": torch.zeros(3)}, path)
    refused(path, "epoch", "no tensors")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "owned"
    zipped, bare, nested = tmp_path / "zipped.pth", tmp_path / "bare.pth", tmp_path / "nested.pt"
    torch.save({"model": Evil(marker)}, zipped)
    bare.write_bytes(pickle.dumps({"model": Evil(marker)}))
    torch.save({"image_encoder.pos_embed": torch.zeros(1), "x": [Evil(marker)]}, nested)
    for path, found in ((zipped, "system"), (bare, "not only tensors"), (nested, "system")):
        refused(path, found)
        assert not marker.exists()


def test_a_zip_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "archive.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(version=99), "version 99"),
        (lambda c: c.update(format="other"), "'other'"),
        (lambda c: c["model"]["encoder"].update(kind="swin"), "'swin'"),
        (lambda c: c["model"]["encoder"].pop("mlp_dims"), "mlp_dims"),
        (lambda c: c["model"]["encoder"].update(mlp_dims=[1, 2]), "2 entries; 3 expected"),
        (lambda c: c["model"]["encoder"].update(embed_dim=-4), "-4"),
        (lambda c: c.pop("model"), "model"),
    ],
)
def test_native_folders_whose_config_is_damaged(tmp_path, change, expected):
    samlet.save(make_vit(), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(samlet.CheckpointError) as caught:
        load_checkpoint(tmp_path / "m")
    assert expected in str(caught.value)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(samlet.CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(samlet.CheckpointError, match="'bert'; expected 'sam'"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("not json")
    with pytest.raises(samlet.CheckpointError, match="cannot be read as JSON"):
        load_checkpoint(tmp_path)
