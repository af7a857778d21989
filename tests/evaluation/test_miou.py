"""Evaluation against masks made by hand, against a model itself, and against the published modules' figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.masks import encode_rle
from tests.conftest import PHOTOS, make_tiny


@pytest.fixture
def sa1b(tmp_path):
    """Two annotated photographs in SA-1B's layout; the masks are what mobile_sam answers, one shifted."""
    folder = tmp_path / "sa1b"
    folder.mkdir()
    predictor = samlet.Predictor(samlet.load("mobile_sam"), 256)
    for name in ("cat", "coffee"):
        image = Image.open(PHOTOS / f"{name}.jpg")
        image.save(folder / f"{name}.png")
        predictor.set_image(image)
        point = [image.width // 2, image.height // 2]
        mask = predictor.predict(points=[point], multimask=False).masks[0, 0]
        entries = [
            {"segmentation": encode_rle(m), "point_coords": [point], "bbox": [0, 0, 1, 1], "area": int(m.sum())}
            for m in (mask, np.roll(mask, 40, axis=1))
        ]
        (folder / f"{name}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
    return folder


def test_a_model_agrees_with_its_own_masks(sa1b):
    sam = samlet.load("mobile_sam")
    found = samlet.evaluate(sam, open_dataset(sa1b), "point", image_size=256, progress=False)
    assert (found.images, found.masks) == (2, 4)
    exact = samlet.evaluate(sam, open_dataset(sa1b).head(1), "point", image_size=256, progress=False)
    assert exact.masks == 2
    assert 0.5 < exact.miou["single"] < 1
    assert found.miou["oracle"] >= found.miou["best"]
    for rule, (low, high) in found.intervals.items():
        assert low <= found.miou[rule] <= high


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_a_model_compared_with_itself_scores_one(photo_folder, prompt):
    sam = samlet.load("mobile_sam")
    found = samlet.evaluate(sam, open_dataset(photo_folder), prompt, reference=sam, image_size=64, progress=False)
    assert found.miou == {"single": 1.0, "best": 1.0, "oracle": 1.0}
    other = samlet.evaluate(
        make_tiny(), open_dataset(photo_folder), prompt, reference=sam, image_size=64, progress=False
    )
    assert other.miou["single"] < 0.9


def test_coco_and_sa1b_say_the_same(sa1b, tmp_path):
    images, annotations = [], []
    for i, path in enumerate(sorted(sa1b.glob("*.png"))):
        with Image.open(path) as image:
            images.append({"id": i, "file_name": path.name, "width": image.width, "height": image.height})
        for entry in json.loads(path.with_suffix(".json").read_text())["annotations"]:
            annotations.append({"image_id": i, "iscrowd": 0, "segmentation": entry["segmentation"]})
    annotations.append({**annotations[0], "iscrowd": 1})
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    coco = open_dataset(tmp_path / "coco.json", sa1b)
    sam = samlet.load("mobile_sam")
    a = samlet.evaluate(sam, coco, "box", image_size=256, progress=False)
    b = samlet.evaluate(sam, open_dataset(sa1b), "box", image_size=256, progress=False)
    assert a.miou == b.miou
    assert a.masks == 4


def test_baseline_of_the_published_modules(shared):
    """A few photographs of the set on which the whole baseline is reproduced by benchmarks/baseline.py."""
    sam = samlet.load(shared / "weights" / "mobile_sam.safetensors")
    data = open_dataset(shared / "data" / "bsds500" / "val")
    assert data.size == 100
    found = samlet.evaluate(sam, data, "box", limit=4, progress=False)
    assert 0.6 < found.miou["single"] < 0.95


def test_what_cannot_be_evaluated(photo_folder, tmp_path):
    sam = make_tiny()
    with pytest.raises(samlet.InputError, match="--reference"):
        samlet.evaluate(sam, open_dataset(photo_folder))
    (tmp_path / "no.json").write_text('{"annotations": []}')
    (tmp_path / "images").mkdir()
    with pytest.raises(samlet.InputError, match="annotates no image"):
        open_dataset(tmp_path / "no.json")
    (photo_folder / "0.json").write_text('{"annotations": [{"segmentation": {"size": [3]}}]}')
    with pytest.raises(samlet.InputError, match="damaged annotation"):
        samlet.evaluate(sam, open_dataset(photo_folder), progress=False)
