"""Files of every format with bytes changed or cut off: a model, or one clear error, and no memory without bound."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

import samlet
from samlet.checkpoints import load_checkpoint
from tests.checkpoints.efficient_reference import PublishedEfficientSam
from tests.checkpoints.test_edge_sam import published_file
from tests.checkpoints.test_formats import plain_tiny, plain_vit
from tests.conftest import peak_growth


def efficient(path: Path) -> Path:
    torch.save({"model": PublishedEfficientSam(dim=64, heads=1, depth=1).state_dict()}, path)
    return path


def edge(path: Path) -> Path:
    published_file(path)
    return path


def written(sam, path: Path, form: str) -> Path:
    samlet.save(sam, path, format=form)
    return path


FORMATS = {
    "native": lambda folder: written(plain_tiny(), folder / "m", "native"),
    "native-vit": lambda folder: written(plain_vit(), folder / "m", "native"),
    "hugging-face": lambda folder: written(plain_vit(), folder / "m", "hugging-face"),
    "segment-anything": lambda folder: written(plain_vit(), folder / "m.pth", "segment-anything"),
    "segment-anything, safetensors": lambda folder: written(plain_vit(), folder / "m.safetensors", "segment-anything"),
    "mobile-sam": lambda folder: written(plain_tiny(), folder / "m.pt", "mobile-sam"),
    "efficient-sam": lambda folder: efficient(folder / "m.pt"),
    "edge-sam": lambda folder: edge(folder / "m.pth"),
}


def load_damaged(path: Path, source: random.Random, trials: int) -> None:
    """Change or cut one file after the other, and put it back."""
    files = [path] if path.is_file() else [path / "config.json", path / "model.safetensors"]
    whole = {file: file.read_bytes() for file in files}
    for trial in range(trials):
        file = files[trial % len(files)]
        damaged = bytearray(whole[file])
        if trial % 3 == 0:
            del damaged[source.randrange(len(damaged)) :]
        head = 20_000 if file.suffix != ".json" and trial % 2 else len(damaged)  # names and shapes stand in front
        for _ in range(source.randrange(1, 8)):
            if damaged:
                damaged[source.randrange(min(head, len(damaged)))] = source.randrange(256)
        file.write_bytes(bytes(damaged))
        try:
            load_checkpoint(path)
        except samlet.SamletError as error:
            said = str(error)
            assert "\n" not in said
            assert len(said) < 2000
        file.write_bytes(whole[file])


@pytest.mark.parametrize("trials", [6, pytest.param(48, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_in_a_model_or_one_error(name, trials, tmp_path):
    path = FORMATS[name](tmp_path)
    load_checkpoint(path)
    assert peak_growth(lambda: load_damaged(path, random.Random(f"{name} {trials}"), trials)) < 200e6


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("native", lambda c: c["model"]["encoder"].update(embed_dims=[60_000] * 4)),
        ("native", lambda c: c["model"]["encoder"].update(window_sizes=[60_000, 14, 7])),
        ("native", lambda c: c["model"]["encoder"].update(embed_dims=[10**12] * 4)),
        ("native", lambda c: c["model"]["decoder"].update(iou_head_depth=10**9)),
        ("native", lambda c: c["model"]["decoder"].update(num_multimask_outputs=10**9)),
        ("native", lambda c: c["model"]["decoder"].update(mlp_dim=2**16)),
        ("native-vit", lambda c: c["model"]["encoder"].update(image_size=2**20)),
        ("native-vit", lambda c: c["model"]["encoder"].update(num_heads=[1] * 10**6)),
        ("hugging-face", lambda c: c["mask_decoder_config"].update(iou_head_depth=10**9)),
        ("hugging-face", lambda c: c["mask_decoder_config"].update(num_multimask_outputs="three")),
        ("hugging-face", lambda c: c["mask_decoder_config"].update(layer_norm_eps="small")),
        ("hugging-face", lambda c: c.update(vision_config=[1])),
    ],
)
def test_a_config_that_asks_for_too_much_is_refused(kind, change, tmp_path):
    path = FORMATS[kind](tmp_path)
    content = json.loads((path / "config.json").read_text())
    change(content)
    (path / "config.json").write_text(json.dumps(content))

    def refused() -> None:
        with pytest.raises(samlet.CheckpointError) as caught:
            load_checkpoint(path)
        assert len(str(caught.value)) < 2000

    assert peak_growth(refused) < 100e6
