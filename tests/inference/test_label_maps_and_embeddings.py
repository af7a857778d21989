"""Label maps, limits on masks, and embeddings in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.masks import decode_rle, encode_rle
from samlet.inference.everything.suppression import suppress_masks
from samlet.labels.label_map import label_map
from tests.conftest import PHOTOS, flat, make_hiera, make_tiny, make_vit

LOOSE = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "image_size": 64}
FLAGS = ["--points-per-side", "4", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--image-size", "64"]


def box(y0, x0, y1, x1):
    mask = np.zeros((20, 30), bool)
    mask[y0:y1, x0:x1] = True
    return {"segmentation": encode_rle(mask), "area": int(mask.sum())}


def test_the_smallest_mask_lies_on_top():
    masks = [box(0, 0, 20, 30), box(5, 5, 10, 10), box(4, 4, 12, 14)]
    labels = label_map(masks, 20, 30)
    assert labels.dtype == np.uint16
    assert (labels[7, 7], labels[4, 4], labels[0, 0]) == (2, 3, 1)
    assert label_map([], 3, 4).tolist() == [[0] * 4] * 3


def test_masks_are_suppressed_by_themselves():
    codes = [box(0, 0, 10, 10)["segmentation"], box(0, 0, 10, 9)["segmentation"], box(0, 0, 10, 5)["segmentation"]]
    assert suppress_masks(codes, 0.8) == [0, 2]
    assert suppress_masks(codes, 0.95) == [0, 1, 2]


def test_limits_on_masks():
    sam = make_tiny()
    every = samlet.MaskGenerator(sam, **LOOSE)(PHOTOS / "cat.jpg")
    areas = sorted(mask["area"] for mask in every)
    limit = areas[len(areas) // 2]
    few = samlet.MaskGenerator(sam, **LOOSE, max_mask_region_area=limit)(PHOTOS / "cat.jpg")
    assert sorted(mask["area"] for mask in few) == [area for area in areas if area <= limit]
    apart = samlet.MaskGenerator(sam, **{**LOOSE, "box_nms_thresh": 1.0}, mask_nms_thresh=0.2)(PHOTOS / "cat.jpg")
    masks = [decode_rle(mask["segmentation"]) for mask in apart]
    assert all((a & b).sum() / (a | b).sum() <= 0.2 for i, a in enumerate(masks) for b in masks[:i])
    with pytest.raises(samlet.InputError, match="max_mask_region_area is -1"):
        samlet.MaskGenerator(sam, max_mask_region_area=-1)


def test_label_maps_of_one_image_and_of_a_folder(tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    (tmp_path / "p").mkdir()
    for name in ("cat.jpg", "dogs.jpg"):
        (tmp_path / "p" / name).write_bytes((PHOTOS / name).read_bytes())
    (tmp_path / "p" / "notes.txt").write_text("no photograph")
    (tmp_path / "p" / "torn.jpg").write_bytes((PHOTOS / "cat.jpg").read_bytes()[:500])
    rest = ["--everything", "--model", str(tmp_path / "m"), *FLAGS, "--format", "label-map"]
    assert main(["segment", str(tmp_path / "p" / "cat.jpg"), *rest, "--out", str(tmp_path / "one")]) == 0
    folder = ["segment", str(tmp_path / "p"), *rest, "--out", str(tmp_path / "all"), "--workers", "1"]
    capsys.readouterr()
    assert main(folder) == 0
    said = capsys.readouterr().out
    assert "2 " in said
    assert any(line.startswith("torn.jpg") and "failed" in line for line in said.splitlines())
    assert any(line.startswith("notes.txt") and "passed over" in line for line in said.splitlines())
    with Image.open(tmp_path / "one" / "labels.png") as one, Image.open(tmp_path / "all" / "cat.png") as same:
        assert np.array_equal(np.asarray(one), np.asarray(same))
        assert one.mode == "I;16"
        assert np.asarray(one).max() == len(json.loads((tmp_path / "one" / "masks.json").read_text())["masks"])
    assert main([*folder, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["continued"] == 2
    assert content["passed_over"] == [{"file": "notes.txt", "reason": "its name does not end as a photograph's"}]
    assert open_dataset(tmp_path / "all", tmp_path / "p").kind == "label maps"


@pytest.mark.parametrize("make", [make_tiny, make_hiera])
def test_an_embedding_answers_as_its_picture_does(make, tmp_path):
    first = samlet.Predictor(make())
    first.set_image(PHOTOS / "cat.jpg")
    first.save_embedding(tmp_path / "cat.safetensors")
    second = samlet.Predictor(make())
    for image in (None, PHOTOS / "cat.jpg"):
        second.load_embedding(tmp_path / "cat.safetensors", image)
        assert np.array_equal(flat(second.embedding), flat(first.embedding))
        point = [[100, 80]]
        assert np.array_equal(second.predict(points=point).masks, first.predict(points=point).masks)
    with pytest.raises(samlet.InputError, match="another picture"):
        second.load_embedding(tmp_path / "cat.safetensors", PHOTOS / "dogs.jpg")
    with pytest.raises(samlet.InputError, match="another model"):
        samlet.Predictor(make_vit()).load_embedding(tmp_path / "cat.safetensors")
    with pytest.raises(samlet.InputError, match="image size 128"):
        samlet.Predictor(make(), image_size=64).load_embedding(tmp_path / "cat.safetensors")
    with pytest.raises(samlet.InputError, match="exists"):
        first.save_embedding(tmp_path / "cat.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "cat.safetensors").read_bytes()[:100])
    with pytest.raises(samlet.InputError, match="damaged"):
        second.load_embedding(tmp_path / "torn.safetensors")
    with pytest.raises(samlet.InputError, match="no image is set"):
        samlet.Predictor(make()).save_embedding(tmp_path / "new.safetensors")
    first.set_image([PHOTOS / "cat.jpg", PHOTOS / "dogs.jpg"])
    with pytest.raises(samlet.InputError, match="several"):
        first.save_embedding(tmp_path / "new.safetensors")
