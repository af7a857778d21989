"""What a user types: results, JSON, exit codes, one line for every mistake."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.data.masks import decode_rle
from tests.conftest import PHOTOS

CAT = str(PHOTOS / "cat.jpg")
SLIM = ["slim", "--teacher", "mobile_sam", "--images"]


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_does_not_wait_for_torch():
    code = "import sys, samlet.cli.parsers as c; c.build_parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def commands():
    (chosen,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return list(chosen.choices)


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_worth_reading(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out) > 300 or command == "models"


def test_models(capsys):
    code, out, _ = run(capsys, "models", "--json")
    models = {m["name"]: m for m in json.loads(out)["models"]}
    assert code == 0
    assert {"mobile_sam", "tinysam", "sam_vit_b", "sam_vit_l", "sam_vit_h"} <= models.keys()
    assert models["mobile_sam"]["available"] is True
    assert {"encoder", "parameters", "licence", "source"} <= models["sam_vit_b"].keys()
    assert "mobile_sam" in run(capsys, "models")[1]


def test_cost(capsys):
    code, out, _ = run(capsys, "cost", "mobile_sam", "--image-size", 256, "--threads", 2, "--json")
    found = json.loads(out)
    assert code == 0
    for part in ("encoder", "decoder"):
        assert {"parameters", "macs_modules", "macs_total", "latency_s"} <= found[part].keys()
    assert found["file_bytes"] < 11e6
    assert found["peak_memory_bytes"] > 1e8
    assert run(capsys, "cost", "sam_vit_h", "--no-measure")[0] == 0


def test_segment(capsys, tmp_path):
    arguments = ["segment", CAT, "--model", "mobile_sam", "--image-size", 256, "--out", tmp_path / "o"]
    code, out, _ = run(capsys, *arguments, "--point", "225,150", "--point", "20,20,0", "--json")
    assert code == 0
    found = json.loads(out)
    assert found == json.loads((tmp_path / "o" / "masks.json").read_text())
    mask = found["masks"][0]
    keys = {"segmentation", "area", "bbox", "predicted_iou", "stability_score", "point_coords"}
    assert keys == mask.keys()
    decoded = decode_rle(mask["segmentation"])
    assert decoded.shape == (300, 451)
    assert decoded.sum() == mask["area"]
    assert found["decoder_prompts"] == 1
    overlay = np.array(Image.open(tmp_path / "o" / "overlay.png"))
    assert overlay.shape == (300, 451, 3)
    boxes = ["--box", "10,10,200,200", "--box", "100,100,300,290"]
    code, out, _ = run(capsys, *arguments[:-1], tmp_path / "p", *boxes, "--json")
    assert len(json.loads(out)["masks"]) == 2
    code, out, _ = run(capsys, *arguments[:-1], tmp_path / "q", "--point", "225,150", "--multimask", "--json")
    assert len(json.loads(out)["masks"]) == 3


def test_evaluate(capsys, photo_folder):
    code, out, _ = run(
        capsys, "evaluate", "mobile_sam", "--data", photo_folder, "--reference", "mobile_sam", "--image-size", 64,
        "--limit", 2, "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert {"protocol", "images", "masks", "miou", "seconds"} <= found.keys()
    assert {f"{r}{s}" for r in ("single", "best", "oracle") for s in ("", "_ci")} == found["miou"].keys()
    assert found["images"] == 2


MISTAKES = {
    "no such model": (["cost", "mobilesam"], "did you mean mobile_sam"),
    "no such file": (["cost", "weights/sam.pth"], "no file or folder"),
    "no image": (["segment", "{tmp}/text.jpg", "--point", "1,1", "--out", "{tmp}/o"], "not an image"),
    "point outside": (["segment", CAT, "--point", "999,1", "--out", "{tmp}/o"], "999,1 lies outside the image"),
    "unreadable point": (["segment", CAT, "--point", "a,b", "--out", "{tmp}/o"], "--point a,b cannot be read"),
    "no prompt": (["segment", CAT, "--out", "{tmp}/o"], "no prompt"),
    "points and boxes": (
        ["segment", CAT, "--point", "1,1", "--box", "1,1,5,5", "--box", "1,1,9,9", "--out", "{tmp}/o"],
        "exactly one box",
    ),
    "taken folder": (["segment", CAT, "--point", "1,1", "--out", "{tmp}"], "already holds"),
    "ratio 0": ([*SLIM, "{tmp}", "--ratio", "0", "--out", "{tmp}/o"], "ratio is 0"),
    "ratio 1": ([*SLIM, "{tmp}", "--ratio", "1", "--out", "{tmp}/o"], "ratio is 1"),
    "no images": ([*SLIM, "{tmp}/empty", "--out", "{tmp}/o"], "holds no images"),
    "taken output": ([*SLIM, "{tmp}", "--out", "{tmp}"], "already holds"),
    "bad size": (["cost", "mobile_sam", "--image-size", "100"], "multiple of 16"),
    "bad threads": (["cost", "mobile_sam", "--threads", "0"], "--threads is 0"),
    "bad device": (["cost", "mobile_sam", "--device", "quantum"], "--device quantum"),
    "no reference": (["evaluate", "mobile_sam", "--data", str(PHOTOS)], "--reference"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line_and_lose_nothing(capsys, tmp_path, name):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    before = sorted(p.name for p in tmp_path.rglob("*"))
    arguments, expected = MISTAKES[name]
    code, out, err = run(capsys, *(a.replace("{tmp}", str(tmp_path)) for a in arguments))
    assert code == 2
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1, err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_wrong_options_get_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["slim", "--teacher", "mobile_sam"])
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert err.count("\n") == 1
    assert "--images" in err
