"""Every command that runs a native folder runs an exported one, and those that train refuse it."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch

from samlet.cli import main
from samlet.data.images import find_images
from samlet.data.sources import open_source
from samlet.evaluation import Contestant
from samlet.evaluation.compare import in_turns
from samlet.labelling.workers import segment_many
from samlet.zoo import load
from tests.conftest import PHOTOS

CAT = PHOTOS / "cat.jpg"
EVERYTHING = ("--everything", "--points-per-side", 4, "--pred-iou-thresh", 0, "--stability-score-thresh", 0)


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answer(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_segment(capsys, tmp_path, folder, native_folder):
    for name, prompt in {
        "points": ("--point", "225,150", "--point", "20,20,0"),
        "boxes": ("--box", "10,10,200,200", "--box", "100,100,300,290"),
        "both": ("--box", "10,10,200,200", "--point", "50,60", "--multimask"),
    }.items():
        found, expected = (
            answer(capsys, "segment", CAT, "--model", model, *prompt, "--out", tmp_path / f"{name}{i}")
            for i, model in enumerate((folder, native_folder))
        )
        assert len(found["masks"]) == len(expected["masks"])
        for a, b in zip(found["masks"], expected["masks"], strict=True):
            assert a["predicted_iou"] == pytest.approx(b["predicted_iou"], abs=1e-3)
            assert a["area"] == pytest.approx(b["area"], rel=1e-2)


def test_segment_everything(capsys, tmp_path, onnx_folder, photo_folder, clip):
    found = answer(capsys, "segment", CAT, "--model", onnx_folder, *EVERYTHING, "--out", tmp_path / "one")
    assert found["decoder_prompts"] >= 16
    assert found["masks"]
    many = ("--workers", 1, *EVERYTHING)
    found = answer(capsys, "segment", photo_folder, "--model", onnx_folder, *many, "--out", tmp_path / "many")
    assert (found["images"], found["failed"]) == (6, [])
    found = answer(capsys, "segment", clip, "--model", onnx_folder, *many, "--out", tmp_path / "clip")
    assert found["images"] == 3
    code, _, err = run(capsys, "segment", photo_folder, "--model", onnx_folder, *many, "--out", tmp_path / "many")
    assert (code, "6 images were there already" in err) == (0, True)


@pytest.mark.distributed
def test_workers_change_nothing(openvino_folder, photo_folder):
    threads = torch.get_num_threads()
    options = {"points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    entries = list(open_source(photo_folder))[:2]
    exported = load(openvino_folder)
    one, two = (list(segment_many(exported, entries, workers=n, **options)) for n in (1, 2))
    assert one == two
    assert all(answer for _, answer in one)
    assert torch.get_num_threads() == threads


def test_evaluate(capsys, folder, native_folder, photo_folder):
    compared = ("--data", photo_folder, "--reference", native_folder, "--limit", 2)
    for prompt in ("point", "box"):
        found = answer(capsys, "evaluate", folder, *compared, "--prompt", prompt, "--image-size", 64)
        assert found["images"] == 2
        assert found["miou"]["single"] > 0.99


def test_compare(capsys, tmp_path, onnx_folder, native_folder, photo_folder):
    compared = ("--data", photo_folder, "--reference", native_folder, "--limit", 2, "--no-measure")
    found = answer(
        capsys, "compare", native_folder, onnx_folder, *compared, "--protocol", "box", "--out", tmp_path / "o"
    )
    native, exported = found["rows"]
    assert exported["model"] == onnx_folder.name
    for key in ("parameters", "encoder", "decoder"):
        assert exported[key] == native[key]
    sizes = [(onnx_folder / name).stat().st_size for name in ("encoder.onnx", "decoder.onnx")]
    assert exported["file_bytes"] == sum(sizes)
    times = in_turns([Contestant(name=str(i), model=load(f)) for i, f in enumerate((onnx_folder, native_folder))], 64)
    assert list(times) == ["0", "1"]
    assert all(seconds > 0 for pair in times.values() for seconds in pair)


def test_cost(capsys, openvino_folder, native_folder):
    found = answer(capsys, "cost", openvino_folder, "--image-size", 96)
    expected = answer(capsys, "cost", native_folder, "--image-size", 96, "--no-measure")
    for part in ("encoder", "decoder"):
        for key in ("parameters", "macs_modules", "macs_total", "macs_computed"):
            assert found[part][key] == expected[part][key]
        assert found[part]["latency_s"] > 0
    assert found["parameters"] == expected["parameters"]
    parts = [path for path in openvino_folder.iterdir() if path.name != "export.json"]
    assert len(parts) == 4
    assert found["file_bytes"] == sum(path.stat().st_size for path in parts)
    assert found["peak_memory_bytes"] > 5e7


def test_label(capsys, tmp_path, onnx_folder, photo_folder):
    options = ("--points-per-side", 3, "--pred-iou-thresh", 0, "--stability-score-thresh", 0, "--workers", 1)
    found = answer(
        capsys, "label", "--teacher", onnx_folder, "--images", photo_folder, "--out", tmp_path / "labels", *options
    )
    assert found["images"] == len(find_images(photo_folder))


def test_commands_that_train_refuse_it(capsys, tmp_path, onnx_folder, native_folder, photo_folder):
    refused = "an exported model cannot be trained; give the model it was made from"
    out = tmp_path / "out"
    for arguments in (
        ("slim", "--teacher", onnx_folder, "--images", photo_folder, "--ratio", 0.5, "--out", out),
        ("distill", "--teacher", onnx_folder, "--student", native_folder, "--data", photo_folder, "--out", out),
        ("distill", "--teacher", native_folder, "--student", onnx_folder, "--data", photo_folder, "--out", out),
    ):
        code, printed, err = run(capsys, *arguments)
        assert (code, printed) == (2, "")
        assert refused in err
        assert len(err.strip().splitlines()) == 1
    code, _, err = run(
        capsys, "segment", CAT, "--model", onnx_folder, "--image-size", 100, "--point", "1,1", "--out", out
    )
    assert (code, "multiple of 16" in err) == (2, True)
