"""benchmarks/web.py and confidence.py at a token size: what they write is what they measured."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samlet
from samlet.export.pipeline import export_model
from samlet.runtimes import ExportedSam
from samlet.web import make_page
from tests.conftest import PHOTOS, make_tiny
from tests.web.node import ROOT, chromium, node, packages
from tests.web.small import small_sam

pytestmark = pytest.mark.benchmark


def test_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node(), packages(), chromium()
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    web: Any = importlib.import_module("web")
    export_model(small_sam(), tmp_path / "onnx", "onnx", image_size=64, photographs=1, force=True)
    made = make_page(ExportedSam(tmp_path / "onnx"), tmp_path / "small_64_float32", size=64, weights="float32")
    written: dict[str, Any] = {}
    monkeypatch.setattr(web, "SPEED", [("small", 64, "float32", "?threads=1")])
    monkeypatch.setattr(web, "write", lambda name, protocol, content: written.update({name: (protocol, content)}))
    web.speed(tmp_path, clicks=3)
    protocol, content = written["web_speed"]
    assert "3 clicks" in protocol
    (row,) = content["rows"]
    assert row["backend"] == "WebAssembly, 1 thread"
    assert row["first_load_bytes"] == made.first_load_bytes
    assert 0 < row["click_median_s"] <= row["click_worst_s"]
    assert 0 < row["parts_s"]["encoder, once a photograph"] < row["first_mask_large_s"]
    assert row["everything"]["clicks"] == 256


def test_confidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    confidence: Any = importlib.import_module("confidence")
    samlet.save(small_sam(), tmp_path / "small")
    samlet.save(make_tiny(), tmp_path / "tiny")
    written: dict[str, Any] = {}
    monkeypatch.setattr(
        confidence, "SOURCES", {"mobile_sam": str(tmp_path / "small"), "samlet_s": str(tmp_path / "tiny")}
    )
    monkeypatch.setattr(confidence, "SIZES", (64, 128))
    monkeypatch.setattr(
        confidence, "write", lambda name, protocol, content: written.update({name: (protocol, content)})
    )
    monkeypatch.setattr(sys, "argv", ["confidence.py", "--photographs", "cat", "--points", "3"])
    confidence.main()
    protocol, content = written["confidence"]
    assert "3x3 clicks on each of cat" in protocol
    assert [(row["model"], row["size"]) for row in content["rows"]] == [
        ("mobile_sam", 64), ("mobile_sam", 128), ("samlet_s", 64), ("samlet_s", 128),
    ]  # fmt: skip
    predictor = samlet.Predictor(make_tiny(), 64)
    predictor.set_image(PHOTOS / "cat.jpg")
    width, height = 451, 300
    clicks = [[[(x + 0.5) * width / 3, (y + 0.5) * height / 3]] for y in range(3) for x in range(3)]
    found = predictor.predict(np.array(clicks), multimask=True)
    row = content["rows"][2]
    assert row["masks"] == found.iou.size == 27
    assert row["predicted_iou"][1] == pytest.approx(float(np.median(found.iou)), abs=1e-5)
    likely = (found.iou > 0.9 * 0.88) & (found.stability >= 0.9)
    assert row["pass"]["likely"] == likely.sum()
    assert content["rows"][1]["agreement_mean"] == pytest.approx(1)  # the teacher with itself
    assert 0 <= row["agreement_mean"] < 1
