"""What the tests of broken and hostile files share: models, photographs, annotations, and a starter of commands."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samlet
from tests.checkpoints.test_formats import plain_vit
from tests.conftest import make_tiny
from tests.hostile.commands import Commands
from tests.runtimes import exporting

SIZE = (48, 64)
SQUARE = [10, 10, 40, 10, 40, 30, 10, 30]


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Starts commands; kept for all tests of this folder."""
    made = Commands()
    yield made
    made.close()


def write_photographs(folder: Path, count: int = 2) -> None:
    """Small smooth pictures `a0.png`, …"""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)
        picture.save(folder / f"a{i}.png")


def coco_content() -> dict:
    """Two photographs with two squares each."""
    return {
        "images": [{"id": i, "file_name": f"a{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(2)],
        "annotations": [
            {"id": k, "image_id": k // 2, "category_id": 1, "segmentation": [SQUARE], "area": 600, "bbox": [1, 2, 3, 4]}
            for k in range(4)
        ],
        "categories": [{"id": 1, "name": "object"}],
    }


def sa1b_content(name: str) -> dict:
    """One photograph with one mask."""
    from samlet.data.masks import encode_rle

    mask = np.zeros(SIZE, bool)
    mask[10:30, 10:40] = True
    entry = {"id": 0, "segmentation": encode_rle(mask), "bbox": [10, 10, 30, 20], "area": 600}
    return {"image": {"file_name": name, "height": SIZE[0], "width": SIZE[1]}, "annotations": [entry]}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data that nothing is wrong with; the tests spoil copies."""
    folder = tmp_path_factory.mktemp("base")
    samlet.save(make_tiny(), folder / "m")
    samlet.save(plain_vit(), folder / "hf", format="hugging-face")
    samlet.save(plain_vit(), folder / "m.pth", format="segment-anything")
    samlet.save(plain_vit(), folder / "m.safetensors", format="segment-anything")
    write_photographs(folder / "photos")
    write_photographs(folder / "images")
    (folder / "coco.json").write_text(json.dumps(coco_content()))
    write_photographs(folder / "sa1b")
    for i in range(2):
        (folder / "sa1b" / f"a{i}.json").write_text(json.dumps(sa1b_content(f"a{i}.png")))
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for path in sorted((folder / "sa1b").iterdir()):
            archive.add(path, path.name)
    return folder


@pytest.fixture(scope="session")
def graphs(base: Path) -> Path:
    """The same folder, with exported models for ONNX Runtime and OpenVINO."""
    folder, sam = base, exporting.make_sam()
    (folder / "onnx").mkdir()
    exporting.write_encoder(sam, folder / "onnx" / "encoder.onnx")
    exporting.write_decoder(sam, folder / "onnx" / "decoder.onnx")
    exporting.write_description(folder / "onnx", exporting.describe(sam, "onnx"))
    (folder / "openvino").mkdir()
    openvino = pytest.importorskip("openvino")
    for part in ("encoder", "decoder"):
        graph = openvino.Core().read_model(str(folder / "onnx" / f"{part}.onnx"))
        openvino.save_model(graph, str(folder / "openvino" / f"{part}.xml"), compress_to_fp16=False)
    exporting.write_description(folder / "openvino", exporting.describe(sam, "openvino"))
    return folder
