"""Evaluation against masks made by hand, against a model itself, and against the published modules' figures."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.masks import decode_rle, encode_rle
from samlet.evaluation.miou import evaluate_all
from tests.conftest import PHOTOS, ROOT, make_tiny

SIZE = 128


@pytest.fixture(scope="module")
def sam():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def sa1b(sam, tmp_path_factory):
    """Two annotated photographs in SA-1B's layout; the masks are what mobile_sam answers, and the same shifted."""
    folder = tmp_path_factory.mktemp("sa1b")
    predictor = samlet.Predictor(sam, SIZE)
    for name in ("cat", "coffee"):
        image = Image.open(PHOTOS / f"{name}.jpg").reduce(3)
        image.save(folder / f"{name}.png")
        predictor.set_image(image)
        point = [image.width // 2, image.height // 2]
        mask = predictor.predict(points=[point], multimask=False).masks[0, 0]
        entries = [
            {"segmentation": encode_rle(m), "point_coords": [point], "bbox": [0, 0, 1, 1], "area": int(m.sum())}
            for m in (mask, np.roll(mask, 13, axis=1))
        ]
        (folder / f"{name}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
    return folder


def test_a_model_agrees_with_its_own_masks_and_as_far_as_they_overlap_with_shifted_ones(sam, sa1b):
    found = samlet.evaluate(sam, open_dataset(sa1b), "point", image_size=SIZE, progress=False)
    assert (found.images, found.masks) == (2, 4)
    for sample, (own, shifted) in zip(open_dataset(sa1b), found.values("single"), strict=True):
        a, b = (decode_rle(annotation.rle) for annotation in sample.annotations)
        assert own == pytest.approx(1, abs=2e-3)
        assert 0.1 < shifted < 0.95
        assert shifted == pytest.approx((a & b).sum() / (a | b).sum(), abs=2e-3)
    assert found.miou["single"] == pytest.approx(np.mean(found.values("single")))
    assert found.miou["oracle"] >= found.miou["best"]
    for rule, (low, high) in found.intervals.items():
        assert low <= found.miou[rule] <= high


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_a_model_compared_with_itself_scores_one(sam, photo_folder, prompt):
    data = open_dataset(photo_folder).head(2)
    found = samlet.evaluate(sam, data, prompt, reference=sam, image_size=64, progress=False)
    assert found.miou == {"single": 1.0, "best": 1.0, "oracle": 1.0}
    other = samlet.evaluate(make_tiny(), data, prompt, reference=sam, image_size=64, progress=False)
    assert other.miou["single"] < 0.9


def test_coco_and_sa1b_say_the_same(sam, sa1b, tmp_path):
    images, annotations = [], []
    for i, path in enumerate(sorted(sa1b.glob("*.png"))):
        with Image.open(path) as image:
            images.append({"id": i, "file_name": path.name, "width": image.width, "height": image.height})
        for entry in json.loads(path.with_suffix(".json").read_text())["annotations"]:
            annotations.append({"image_id": i, "iscrowd": 0, "segmentation": entry["segmentation"]})
    annotations.append({**annotations[0], "iscrowd": 1})
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    coco = open_dataset(tmp_path / "coco.json", sa1b)
    a = samlet.evaluate(sam, coco, "box", image_size=SIZE, progress=False)
    b = samlet.evaluate(sam, open_dataset(sa1b), "box", image_size=SIZE, progress=False)
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


@pytest.mark.slow
def test_two_photographs_score_what_they_did_when_all_scored_what_is_published(shared):
    """In percent, by the code that made the committed baseline."""
    sam = samlet.load(shared / "weights" / "mobile_sam.safetensors")
    data = open_dataset(shared / "data" / "bsds500" / "val").head(2)
    point, box = evaluate_all(sam, data, ["point", "box"], progress=False)
    assert point.masks == box.masks == 39
    for found, expected in ((point, (59.63, 58.91, 74.76)), (box, (83.11, 82.24, 85.06))):
        assert [100 * value for value in found.miou.values()] == pytest.approx(expected, abs=0.1)


def test_a_limit_is_the_first_photographs(sa1b):
    sam, data = make_tiny(), open_dataset(sa1b)
    found = samlet.evaluate(sam, data, "box", limit=1, image_size=64, progress=False)
    again = samlet.evaluate(sam, data.head(1), "box", image_size=64, progress=False)
    assert (found.miou, found.masks) == (again.miou, again.masks)
    assert [result.name for result in found.results] == [str(next(iter(data)).path)]


def test_what_cannot_be_evaluated(photo_folder, tmp_path):
    sam = make_tiny()
    with pytest.raises(samlet.InputError, match="--reference"):
        samlet.evaluate(sam, open_dataset(photo_folder))
    (tmp_path / "no.json").write_text('{"annotations": [], "images": []}')
    (tmp_path / "images").mkdir()
    with pytest.raises(samlet.InputError, match="annotates no image"):
        open_dataset(tmp_path / "no.json")
    (photo_folder / "0.json").write_text('{"annotations": [{"segmentation": {"size": [3]}}]}')
    with pytest.raises(samlet.InputError, match=r"annotation 0 has a segmentation of size"):
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


def test_annotations_without_their_images_say_how_to_name_them(sa1b, tmp_path):
    apart = tmp_path / "apart"
    apart.mkdir()
    for sidecar in sa1b.glob("*.json"):
        shutil.copy(sidecar, apart)
    said = r"holds annotations \(\d+ files like ID.json\) and no images; .*--images"
    with pytest.raises(samlet.InputError, match=said):
        open_dataset(apart)
    assert open_dataset(apart, sa1b).size


def test_the_json_says_what_was_measured(sam, sa1b, tmp_path, capsys):
    samlet.save(sam, tmp_path / "model")
    asked = ["--data", str(sa1b), "--seed", "3", "--limit", "1", "--json"]
    assert main(["evaluate", str(tmp_path / "model"), *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = {"model": str(tmp_path / "model"), "data": str(sa1b), "reference": None, "limit": 1, "seed": 3}
    assert found | wanted | {"samlet": samlet.__version__} == found


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
