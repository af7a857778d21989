"""Evaluation against masks made by hand, against a model itself, and against the published modules' figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.masks import encode_rle
from tests.conftest import PHOTOS, ROOT, make_tiny


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


def test_committed_baseline_is_that_of_the_published_modules(shared):
    """benchmarks/baseline.py evaluated every mask; the published modules gave these figures, in percent."""
    ours = json.loads((ROOT / "benchmarks" / "results" / "baseline.json").read_text())["float32"]
    theirs = json.loads((shared / "vectors" / "baseline.json").read_text())
    for data in ("bsds500/val", "coco100_train"):
        for prompt in ("point", "box"):
            found, expected = ours[data.replace("/", "_")][prompt], theirs[data]
            assert (found["images"], found["masks"]) == (expected["images"], expected["masks"])
            for rule, value in expected[prompt].items():
                assert 100 * found["miou"][rule] == pytest.approx(value, abs=0.01), (data, prompt, rule)


def test_a_limit_is_the_first_photographs(shared):
    sam, data = make_tiny(), open_dataset(shared / "data" / "bsds500" / "val")
    found = samlet.evaluate(sam, data, "box", limit=2, image_size=64, progress=False)
    again = samlet.evaluate(sam, data.head(2), "box", image_size=64, progress=False)
    assert (found.miou, found.masks) == (again.miou, again.masks)
    assert found.images == 2


def test_what_cannot_be_evaluated(photo_folder, tmp_path):
    sam = make_tiny()
    with pytest.raises(samlet.InputError, match="--reference"):
        samlet.evaluate(sam, open_dataset(photo_folder))
    (tmp_path / "no.json").write_text('{"annotations": [], "images": []}')
    (tmp_path / "images").mkdir()
    with pytest.raises(samlet.InputError, match="annotates no image"):
        open_dataset(tmp_path / "no.json")
    (photo_folder / "0.json").write_text('{"annotations": [{"segmentation": {"size": [3]}}]}')
    with pytest.raises(samlet.InputError, match=r"annotation 0 is damaged"):
        samlet.evaluate(sam, open_dataset(photo_folder), progress=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"annotations": [{}], "images": []}, "image_id"),
        ({"annotations": [{"image_id": 1, "segmentation": []}], "images": [{"id": 1}]}, "height"),
        ({"annotations": []}, "images"),
        (
            {
                "annotations": [{"image_id": 1, "segmentation": []}],
                "images": [{"id": 1, "height": 3, "width": 3, "file_name": "none.jpg"}],
            },
            "missing",
        ),
    ],
)
def test_damaged_coco_files(tmp_path, content, expected):
    (tmp_path / "images").mkdir()
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(samlet.InputError, match=expected):
        open_dataset(tmp_path / "coco.json")


def test_empty_masks_and_points_outside_are_no_prompts(photo_folder):
    with Image.open(photo_folder / "0.png") as image:
        width, height = image.size
    full, empty = np.ones((height, width), bool), np.zeros((height, width), bool)
    entries = [{"segmentation": encode_rle(m), "point_coords": [[width, 3]]} for m in (empty, full)]
    (photo_folder / "0.json").write_text(json.dumps({"annotations": entries}))
    data = open_dataset(photo_folder)
    assert (data.size, data.without_masks) == (1, 5)
    found = samlet.evaluate(make_tiny(), data, progress=False)
    assert found.masks == 1
