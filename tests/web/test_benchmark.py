"""benchmarks/web.py at a token size: what it writes is what it measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from samlet.export.pipeline import export_model
from samlet.runtimes import ExportedSam
from samlet.web import make_page
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
