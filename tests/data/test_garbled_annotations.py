"""Annotations as people have them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.annotations import read_annotations
from samlet.data.datasets import open_dataset
from samlet.distillation.config import DistillConfig
from samlet.distillation.pipeline import run_distillation
from tests.conftest import make_tiny

SQUARE = [10, 10, 40, 10, 40, 30, 10, 30]
POINTS = [[10, 10], [40, 10], [40, 30], [10, 30]]
SIZE = (48, 64)


def area(segmentation):
    found, problems = read_annotations("x.jpg", [{"segmentation": segmentation}], SIZE)
    return problems or found[0].area


@pytest.mark.parametrize("given", [[SQUARE], SQUARE, POINTS, [POINTS], [[POINTS]], [[SQUARE]], [SQUARE, [1, 2, 3, 4]]])
def test_polygons_of_every_nesting(given):
    assert area(given) == 600


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[10, 10, math.nan, 10, 40, 30]], "coordinate nan"),
        ([[10, 10, "a", 10, 40, 30]], "coordinate a"),
        ([[10, 10, None, 10, 40, 30]], "coordinate None"),
        ([[10, 10, 40, 10, 40, 30, 5]], "7 coordinates"),
        ([[10, 10, 40, 10]], "2 points"),
        ([], "no segmentation"),
        (None, "no segmentation"),
        ("abc", "is a str"),
        ({"counts": "abc"}, "expected size and counts"),
        ({"size": [48, 64], "counts": [5, 6]}, "RLE of 11 pixels"),
        ([SQUARE, 7], "side by side"),
    ],
)
def test_what_is_no_mask_is_named_with_its_annotation(given, said):
    entries = [{"id": 77, "segmentation": given, "bbox": [1, 2, 3, 4]}, {"id": 78, "segmentation": [SQUARE]}]
    found, problems = read_annotations("x.jpg", entries, SIZE)
    assert [one.area for one in found] == [600]
    assert len(problems) == 1
    assert problems[0].startswith("x.jpg: annotation 77 ")
    assert said in problems[0]
    assert "Error" not in problems[0]


@pytest.fixture
def coco(tmp_path):
    """Writes a JSON of three photographs with two masks each, changed as a test says."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(tmp_path / "images" / f"im{i}.png")

    def write(change=lambda _: None, encode=json.dumps):
        content = {
            "images": [{"id": i, "file_name": f"im{i}.png", "height": 48, "width": 64} for i in range(3)],
            "annotations": [{"id": k, "image_id": k // 2, "segmentation": [SQUARE]} for k in range(6)],
        }
        change(content)
        text = encode(content)
        (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "a.json"

    return write


def masks(path):
    return sum(len(sample.annotations) for sample in open_dataset(path))


def test_byte_order_marks_nan_and_ids_as_text(coco):
    assert masks(coco(encode=lambda c: b"\xef\xbb\xbf" + json.dumps(c).encode())) == 6
    assert masks(coco(lambda c: c["annotations"][1].update(area=math.nan, bbox=[0, 0, math.inf, 3]))) == 6
    assert masks(coco(lambda c: [one.update(image_id=str(one["image_id"])) for one in c["annotations"]])) == 6
    assert masks(coco(lambda c: c["annotations"][0].update(segmentation=[POINTS]))) == 6


def test_what_cannot_be_used_is_counted(coco, capsys):
    def change(content):
        content["annotations"][0].pop("image_id")
        content["annotations"][1]["image_id"] = 99
        content["images"][2].pop("height")

    assert masks(coco(change)) == 2
    said = capsys.readouterr().err
    assert "2 entries are left out: annotation 0 has no image_id, image 2 lacks" in said
    assert "3 annotations are of images that it does not list" in said


@pytest.mark.parametrize("content", ["[1, 2]", '[{"image_id": 1}]'])
def test_a_list_at_the_top(coco, content):
    with pytest.raises(samlet.InputError, match="is a list at its top") as found:
        open_dataset(coco(encode=lambda _: content))
    assert "Error(" not in str(found.value)
    with pytest.raises(samlet.InputError, match="cannot be read as JSON"):
        open_dataset(coco(encode=lambda _: '{"annotations": [{"id": 1,'))


def one_bad(content):
    content["annotations"][0].pop("segmentation")
    content["annotations"][0]["bbox"] = [1, 2, 3, 4]
    content["images"][1].update(height=64, width=48)


def test_evaluate_and_distill_go_on_without_bad_annotations(coco, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    path = coco(one_bad)
    arguments = [str(tmp_path / "m"), "--data", str(path), "--prompt", "box", "--image-size", "64"]
    assert main(["evaluate", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["masks"] == 3
    assert "annotation 0 has no segmentation, and a box is no mask" in err
    assert "im1.png is 64 wide and 48 high" in err
    assert "EXIF" in err
    settings = {"steps": 1, "image_size": 64, "batch_size": 1, "micro_batch": 1, "prompts": 2, "rounds": 1}
    made = run_distillation(make_tiny(0), make_tiny(1), open_dataset(path), DistillConfig(**settings))
    said = " ".join(made.skipped.values())
    assert "a box is no mask" in said or "EXIF" in said


def test_nothing_left_ends_with_one(coco, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    path = coco(lambda c: [image.update(height=64, width=48) for image in c["images"]])
    assert main(["evaluate", str(tmp_path / "m"), "--data", str(path), "--prompt", "box", "--image-size", "64"]) == 1
    said = capsys.readouterr().err
    assert "all 3 that were tried cannot be used" in said
    assert "EXIF" in said


def test_cases_of_garbled_coco(shared):
    folder = shared / "cases" / "coco_garbled"
    assert masks(folder / "nested_poly" / "ann.json") == masks(folder / "bom" / "ann.json") == 6
    with pytest.raises(samlet.InputError, match="list at its top"):
        open_dataset(folder / "list_top" / "ann.json")
