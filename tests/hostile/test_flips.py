"""Every reader with 500 changed files, and all of them together with 20,000: a result, or one of our errors."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.checkpoints.reading import read_tensors
from samlet.data.coco import read_truth
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.label_maps import read_label_map, regions
from samlet.data.sources import Entry
from samlet.evaluation.detector import _read_detections
from samlet.evaluation.miou import ImageResult
from samlet.labels import FORMATS, LabelSettings, read_labels
from samlet.models import SamConfig
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.folder import read_recipe
from samlet.runs.records import RecordStore
from samlet.runtimes import read_manifest
from samlet.training.embeddings import EmbeddingCache
from tests.conftest import make_tiny
from tests.hostile import THOROUGH, flips
from tests.hostile.conftest import SIZE, coco_content, sa1b_content
from tests.runtimes import exporting

Made = tuple[list[Path], Callable[[], object]]
"""The files that are changed, and what reads them."""

FAST, SLOW = 500, 20_000 if THOROUGH else 4_000


def native_config(folder: Path, _base: Path) -> Made:
    path = folder / "config.json"
    path.write_text(json.dumps(make_tiny().config.to_dict()))
    from samlet.checkpoints.reading import read_json

    return [path], lambda: SamConfig.from_dict(read_json(path))


def safetensors(folder: Path, _base: Path) -> Made:
    path = folder / "m.safetensors"
    save_file({"a": torch.zeros(3, 2), "b.c": torch.ones(4)}, path, metadata={"format": "pt"})
    return [path], lambda: read_tensors(path)


def _pickled(folder: Path, legacy: bool) -> Made:
    path = folder / "m.pth"
    content = {"model": {"a": torch.randn(3), "b.c": torch.ones(2, 2).half()}, "epoch": 3, "args": [1, ("x", 2.5)]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return [path], lambda: read_tensors(path)


def hugging_face_config(folder: Path, base: Path) -> Made:
    from samlet.checkpoints.hugging_face import _Config
    from samlet.checkpoints.hugging_face_sam2 import _hiera
    from samlet.checkpoints.reading import read_json
    from samlet.checkpoints.statistics import from_folder
    from samlet.io.schema import checked

    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(base / "hf" / name, folder)

    def read() -> None:
        checked(read_json(folder / "config.json"), _Config)
        _hiera(read_json(folder / "config.json"), folder)
        from_folder(folder, 512, stretch=False)

    return [folder / "config.json", folder / "preprocessor_config.json"], read


def manifest(folder: Path, _base: Path) -> Made:
    exporting.write_description(folder, exporting.describe(exporting.make_sam(), "onnx"))
    for part in ("encoder", "decoder"):
        (folder / f"{part}.onnx").touch()  # which is looked for, and not opened
    return [folder / "export.json"], lambda: read_manifest(folder)


def coco(folder: Path, base: Path) -> Made:
    path = folder / "a.json"
    content = coco_content()
    content["annotations"][1]["segmentation"] = sa1b_content("x")["annotations"][0]["segmentation"]
    content["annotations"][2]["segmentation"] = {"size": list(SIZE), "counts": [100, 20, 2952]}
    path.write_text(json.dumps(content))
    return [path], lambda: [list(open_dataset(path, base / "images")), read_truth(path)]


def sa1b(folder: Path, base: Path) -> Made:
    shutil.copytree(base / "sa1b", folder / "d")
    return [folder / "d" / "a0.json"], lambda: list(open_dataset(folder / "d"))


def shard(folder: Path, base: Path) -> Made:
    path = folder / "s.tar"
    shutil.copy(base / "shard.tar", path)
    with tarfile.open(path) as archive:
        assert len(archive.getmembers()) == 4
    return [path], lambda: list(open_dataset(path))


def label_map(folder: Path, _base: Path) -> Made:
    path = folder / "a.png"
    labels = np.zeros(SIZE, np.uint16)
    labels[10:30, 10:40] = 300
    Image.fromarray(labels).save(path)
    return [path], lambda: regions(read_label_map(path))


def mat(folder: Path, _base: Path) -> Made:
    from scipy.io import savemat

    entry = np.zeros((1, 1), dtype=[("Segmentation", object)])
    entry["Segmentation"][0, 0] = np.ones((8, 9), np.uint16)
    cell = np.empty((1, 1), object)
    cell[0, 0] = entry
    savemat(folder / "a.mat", {"groundTruth": cell}, do_compression=True)
    return [folder / "a.mat"], lambda: regions(read_label_map(folder / "a.mat"))


def _picture(ending: str) -> Callable[[Path, Path], Made]:
    def make(folder: Path, _base: Path) -> Made:
        path = folder / f"a.{ending}"
        values = np.random.default_rng(0).integers(0, 255, (16, 24, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        options: dict[str, Any] = {"exif": exif} if ending in ("jpg", "webp", "png") else {}
        Image.fromarray(values).save(path, **options)
        return [path], lambda: read_image(path)

    return make


def deep_picture(folder: Path, _base: Path) -> Made:
    path = folder / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 4000, (16, 24)).astype(np.uint16)).save(path)
    return [path], lambda: read_image(path)


def _labels(name: str) -> Callable[[Path, Path], Made]:
    def make(folder: Path, base: Path) -> Made:
        from samlet.inference.everything.generator import Everything

        out = folder / "o"
        out.mkdir()
        code = sa1b_content("x")["annotations"][0]["segmentation"]
        mask = {"segmentation": code, "area": 600, "bbox": [10, 10, 30, 20], "predicted_iou": 0.9}
        writer = FORMATS[name].writer(out, LabelSettings())
        writer.write(Entry("a0.png", base / "photos" / "a0.png"), Everything([mask], 1, 0.1, SIZE))
        writer.finish()
        files = sorted(path for path in out.rglob("*") if path.is_file() and "images" not in path.parts)
        return files, lambda: read_labels(out, name)

    return make


def recipe(folder: Path, _base: Path) -> Made:
    path = folder / "run.json"
    path.write_text(json.dumps({"recipe": {"steps": 3, "seed": 0}, "finished": False}))
    return [path], lambda: read_recipe(path)


def records(folder: Path, _base: Path) -> Made:
    result = {"name": "a", "areas": [3], "values": {"box": {"best": [0.5]}}, "seconds": {"box": 0.1}}
    (folder / "o").mkdir()
    for name, content in (("run.json", {"model": "m"}), ("images-0.jsonl", result)):
        (folder / "o" / name).write_text(json.dumps(content) + "\n")

    def read() -> None:
        for record in RecordStore(folder / "o", {"model": "m"}, kind=ImageResult).all():
            ImageResult(**record)

    return [folder / "o" / "images-0.jsonl"], read


def checkpoints(folder: Path, _base: Path) -> Made:
    stage = CheckpointFolder(folder / "c")
    stage.save(1, {"a": torch.zeros(3)}, {"loss": 0.5})
    return sorted((folder / "c").iterdir()), stage.newest


def detections(folder: Path, _base: Path) -> Made:
    path = folder / "d.json"
    path.write_text(json.dumps([{"image_id": 0, "category_id": 1, "bbox": [10, 10, 30, 20], "score": 0.9}] * 2))
    return [path], lambda: _read_detections(path)


def embeddings(folder: Path, _base: Path) -> Made:
    cache = folder / "t-64"
    cache.mkdir()
    np.save(cache / "a.npy", np.zeros((1, 4, 2, 2), np.float32))
    (cache / "a.json").write_text(json.dumps({"rows": [["x", 0]]}))
    return [cache / "a.json", cache / "a.npy"], lambda: EmbeddingCache(folder, "t", 64)


READERS: dict[str, Callable[[Path, Path], Made]] = {
    "native config": native_config,
    "safetensors": safetensors,
    "archive of PyTorch": lambda folder, _: _pickled(folder, False),
    "pickles in a row": lambda folder, _: _pickled(folder, True),
    "configs of Hugging Face": hugging_face_config,
    "export.json": manifest,
    "COCO": coco,
    "SA-1B": sa1b,
    "shard": shard,
    "label map": label_map,
    "mat": mat,
    **{ending: _picture(ending) for ending in ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm")},
    "deep png": deep_picture,
    **{f"labels: {name}": _labels(name) for name in ("coco", "jsonl", "sa1b", "labelme", "yolo", "png", "label-map")},
    "recipe": recipe,
    "records": records,
    "checkpoints": checkpoints,
    "detections": detections,
    "embeddings": embeddings,
}


PASSED_OVER = ("checkpoints", "embeddings")
"""Readers that pass over what is damaged, for it is computed again."""


def whole_model(name: str) -> Callable[[Path, Path], Made]:
    def make(folder: Path, base: Path) -> Made:
        if (base / name).is_dir():
            shutil.copytree(base / name, folder / name)
            files = [path for path in sorted((folder / name).iterdir()) if path.name != "provenance.json"]
        else:
            shutil.copy(base / name, folder)
            files = [folder / name]
        return files, lambda: load_checkpoint(folder / name)

    return make


def graph(target: str) -> Callable[[Path, Path], Made]:
    def make(folder: Path, base: Path) -> Made:
        shutil.copytree(base / target, folder / "m")

        def read() -> None:
            exported = samlet.load(folder / "m")
            for part in (exported._encoder, exported._decoder):
                part.session()

        return sorted((folder / "m").iterdir()), read

    return make


COSTLY: dict[str, Callable[[Path, Path], Made]] = {
    **{f"model {name}": whole_model(name) for name in ("m", "hf", "m.pth", "m.safetensors")},
    **{f"graph {target}": graph(target) for target in ("onnx", "openvino")},
}
_COSTLY_CHANGES = 200 if THOROUGH else 40
_SEED = "1"


@pytest.mark.parametrize("name", READERS)
def test_readers_end_in_a_result_or_an_error(name: str, base: Path, tmp_path: Path):
    files, read = READERS[name](tmp_path, base)
    read()
    found = flips.run(files, read, FAST, f"{name} {_SEED}")
    assert found["results"] + found["errors"] == FAST
    assert found["errors"] > FAST // 20 or name in PASSED_OVER, found
    read()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, *COSTLY])
def test_many_changes(name: str, base: Path, graphs: Path, tmp_path: Path):
    """20,000 changes over all readers: as many for each, but for those that build whole models and graphs."""
    assert graphs == base
    files, read = (READERS | COSTLY)[name](tmp_path, base)
    read()
    count = _COSTLY_CHANGES
    if name in READERS:
        count = -(-(SLOW - _COSTLY_CHANGES * len(COSTLY)) // len(READERS))
    flips.run(files, read, count, f"{name} many")
