"""What docs/how-to/tools.md shows with other libraries runs, where the library is installed, and means what it says."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from typing import Any

import numpy as np
import pytest

import samlet
from samlet.data.masks import decode_rle, mask_iou
from tests.conftest import PHOTOS, make_tiny
from tests.documents import blocks

SNIPPETS = blocks("docs/how-to/tools.md", "py")


def run(word: str, tmp_path, monkeypatch) -> dict[str, Any]:
    """The names that a snippet leaves, run with a small model."""
    (code,) = [snippet for snippet in SNIPPETS if word in snippet]
    samlet.save(make_tiny(), tmp_path / "model")
    (tmp_path / "examples" / "photos").mkdir(parents=True)
    for name in ("dogs.jpg", "cat.jpg"):
        shutil.copy(PHOTOS / name, tmp_path / "examples" / "photos")
    assert 'load("mobile_sam")' in code
    code = code.replace('load("mobile_sam")', 'load("./model")')
    few = "points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0"
    code = re.sub(r"MaskGenerator\((.*?)\)(?=\(|\n)", rf"MaskGenerator(\1, {few})", code)
    assert few in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_supervision(tmp_path, monkeypatch):
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    names = run("import supervision", tmp_path, monkeypatch)
    masks, detections = sorted(names["masks"], key=lambda mask: -mask["area"]), names["detections"]
    assert isinstance(detections, sv.Detections)
    assert len(detections) == len(masks) > 1
    for mask, box, expected in zip(detections.mask, detections.xyxy, masks, strict=True):
        assert (mask == decode_rle(expected["segmentation"])).all()
        x, y, w, h = expected["bbox"]
        assert box.tolist() == [x, y, x + w, y + h]
    assert names["found"].mask.shape == names["answer"].masks[:, 0].shape
    assert np.allclose(names["found"].confidence, names["answer"].iou[:, 0])


def test_fiftyone(tmp_path, monkeypatch):
    pytest.importorskip("fiftyone", reason="fiftyone is not installed; it is too large for the test extra")
    names = run("import fiftyone", tmp_path, monkeypatch)
    height, width = names["masks"].size
    found = names["sample"]["samlet"].detections
    assert len(found) == len(names["masks"]) > 1
    for detection, expected in zip(found, names["masks"], strict=True):
        x, y, w, h = detection.bounding_box
        whole = np.zeros((height, width), bool)
        top, left = round(y * height), round(x * width)
        rows, columns = detection.mask.shape
        assert (round(h * height), round(w * width)) == (rows, columns)
        whole[top : top + rows, left : left + columns] = detection.mask
        assert mask_iou(whole, decode_rle(expected["segmentation"])) == 1


def test_label_studio(tmp_path, monkeypatch):
    names = run("encode_brush", tmp_path, monkeypatch)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"].rpartition("/")[2] for task in tasks] == ["dogs.jpg", "cat.jpg"]
    strokes = tasks[1]["predictions"][0]["result"]
    assert len(strokes) == len(names["masks"]) > 1
    for stroke, mask in zip(strokes, names["masks"], strict=True):
        assert stroke["type"] in stroke["value"]
        values = unpacked(stroke["value"]["rle"]).reshape(stroke["original_height"], stroke["original_width"], 4)
        assert (values[..., 3] > 0).tolist() == decode_rle(mask["segmentation"]).tolist()


def unpacked(code: list[int]) -> np.ndarray:
    """The values of a brush, by Label Studio's own reader where it is installed."""
    try:
        reader = importlib.import_module("label_studio_sdk.converter.brush")
    except ImportError:
        from tests.serve.brush import unpacked as read

        return read(code)
    return reader.decode_rle(code)
