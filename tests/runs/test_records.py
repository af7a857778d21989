"""Evaluations that are killed, shared between processes, repeated: the same figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.masks import encode_rle
from samlet.evaluation.compare import Contestant, compare
from samlet.evaluation.miou import evaluate_all
from samlet.evaluation.report import write_scatter
from tests.conftest import make_tiny, make_vit


@pytest.fixture
def data(tmp_path):
    """Five small photographs, each with two masks."""
    folder = tmp_path / "data"
    folder.mkdir()
    source = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(source.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / f"{i}.png")
        masks = [np.zeros((48, 64), bool) for _ in range(2)]
        masks[0][4 : 20 + i, 8:30] = masks[1][10:40, 30 : 40 + i] = True
        (folder / f"{i}.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(m)} for m in masks]}))
    return folder


def figures(found):
    return [(e.name, e.miou, e.intervals, e.over_images, e.images, e.masks) for e in found]


def test_a_stopped_evaluation_continues(data, tmp_path, monkeypatch):
    sam, protocols = make_tiny(), ["sa1b-point", "box", "point-2"]
    whole = evaluate_all(sam, open_dataset(data), protocols, progress=False)
    encoded = []
    encode = samlet.Sam.encode

    def stop(self, images):
        encoded.append(1)
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return encode(self, images)

    monkeypatch.setattr(samlet.Sam, "encode", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate_all(sam, open_dataset(data), protocols, progress=False, out=tmp_path / "out")
    with (tmp_path / "out" / "images-0.jsonl").open("a") as file:
        file.write('{"name": "half a li')  # what a kill may leave
    again = evaluate_all(sam, open_dataset(data), protocols, progress=False, out=tmp_path / "out")
    assert len(encoded) == 3 + 3
    assert figures(again) == figures(whole)


def test_results_of_another_evaluation_are_not_mixed_in(data, tmp_path):
    evaluate_all(make_tiny(), open_dataset(data), ["box"], progress=False, out=tmp_path / "out")
    for other in ({"protocols": ["sa1b-point"]}, {"protocols": ["box"], "limit": 2}):
        with pytest.raises(samlet.InputError, match="other settings"):
            evaluate_all(make_tiny(), open_dataset(data), progress=False, out=tmp_path / "out", **other)
    with pytest.raises(samlet.InputError, match="other settings"):
        evaluate_all(make_vit(), open_dataset(data), ["box"], progress=False, out=tmp_path / "out")
    (again,) = evaluate_all(
        make_vit(), open_dataset(data), ["box"], progress=False, out=tmp_path / "out", overwrite=True
    )
    assert again.images == 5
    with pytest.raises(samlet.InputError, match="already holds"):
        evaluate_all(make_tiny(), open_dataset(data), ["box"], progress=False, out=data)
    assert len(list(data.iterdir())) == 10


def in_one_and_in_two_processes(arguments, out, capsys):
    """What a command says alone, and what two processes of it say, which write to `out`."""
    assert main(arguments) == 0
    one = capsys.readouterr().out
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = subprocess.run(
        [*command, "-m", "samlet", *arguments, "--out", str(out), "--threads", "1"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert {path.name for path in out.glob("images-*.jsonl")} == {"images-0.jsonl", "images-1.jsonl"}
    return json.loads(one), json.loads(two.stdout)


@pytest.mark.distributed
def test_two_processes_say_what_one_says(data, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    arguments = ["evaluate", str(tmp_path / "m"), "--data", str(data), "--protocol", "box", "--json"]
    a, b = in_one_and_in_two_processes(arguments, tmp_path / "out", capsys)
    for key, value in a["miou"].items():
        assert value == pytest.approx(b["miou"][key], abs=1e-6), key
    assert (a["images"], a["masks"]) == (b["images"], b["masks"]) == (5, 10)


@pytest.mark.distributed
def test_two_processes_share_a_detectors_boxes(data, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    images, annotations, boxes = [], [], []
    for number, path in enumerate(sorted(data.glob("*.png"))):
        images.append({"id": number, "file_name": path.name, "height": 48, "width": 64})
        for entry in json.loads(path.with_suffix(".json").read_text())["annotations"]:
            known = {"image_id": number, "category_id": 1}
            box = [4, 4, 30, 30]
            boxes.append({**known, "bbox": box, "score": 0.5 + 0.01 * len(boxes)})
            annotations.append({**known, **entry, "id": len(annotations) + 1, "iscrowd": 0, "area": 400, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    arguments = ["evaluate", str(tmp_path / "m"), "--data", str(tmp_path / "coco.json"), "--images", str(data)]
    arguments += ["--protocol", "box-detector", "--detections", str(tmp_path / "boxes.json"), "--json"]
    a, b = in_one_and_in_two_processes(arguments, tmp_path / "out", capsys)
    del a["seconds"], b["seconds"]
    assert a == b
    assert a["images"] == 5


def test_one_encode_an_image_whatever_is_asked(data, monkeypatch):
    encoded = []
    encode = samlet.Sam.encode
    monkeypatch.setattr(samlet.Sam, "encode", lambda self, images: encoded.append(1) or encode(self, images))
    evaluate_all(
        make_tiny(),
        open_dataset(data),
        ["sa1b-point", "box", "point-2", "everything"],
        progress=False,
        everything={"points_per_side": 2},
    )
    assert len(encoded) == 5


def compared(data, tmp_path):
    """Arguments of a comparison of two models, which are written first."""
    samlet.save(make_tiny(), tmp_path / "a")
    samlet.save(make_vit(), tmp_path / "b")
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--data", str(data)]
    return [*arguments, "--out", str(tmp_path / "out"), "--protocol", "box"]


def test_the_compare_command(data, tmp_path, capsys):
    arguments = [*compared(data, tmp_path), "--protocol", "everything", "--points-per-side", "2", "--no-measure"]
    assert main([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "out" / "comparison.json").read_text())
    rows = {row["model"]: row for row in content["rows"]}
    assert list(rows) == ["a", "b"]
    for name, sam in (("a", make_tiny()), ("b", make_vit())):
        row, found = rows[name], samlet.evaluate(sam, open_dataset(data), "box", progress=False)
        assert row["protocol"] == found.protocol
        assert {rule: row["miou"][rule] for rule in found.miou} == pytest.approx(found.miou)
        assert row["miou"] == row["protocols"]["box"]["miou"]
        assert row["parameters"] == sum(p.numel() for p in sam.parameters())
        assert row["file_bytes"] > row["parameters"]
        assert row["encoder"]["latency_s"] is row["decoder"]["latency_s"] is row["peak_memory_bytes"] is None
        assert set(row["protocols"]) == {"box", "everything"}
    assert {pair["rule"] for pair in content["differences"]} == {"single", "best", "oracle"}
    told = []
    for pair in content["differences"]:
        a, b = (rows[name]["protocols"][pair["protocol"]]["miou"][pair["rule"]] for name in "ab")
        assert pair["difference"] == pytest.approx(a - b)
        assert pair["real"] == (pair["ci"][0] > 0 or pair["ci"][1] < 0)
        verdict = f"a {'better' if a > b else 'worse'} than b" if pair["real"] else "no telling apart"
        told.append((f"{pair['protocol']}, {pair['rule']}: a less b {100 * (a - b):+.1f} points", verdict))
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert table.count("\n| ") == 3
    assert main(arguments) == 0
    for text in (table, capsys.readouterr().out):
        for start, end in told:
            (line,) = (line for line in text.splitlines() if start in line)
            assert line.endswith(end)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--data", str(data)]) == 2
    assert "given twice" in capsys.readouterr().err


def test_compared_models_are_timed_and_drawn(data, tmp_path):
    models = [Contestant(name="a", model=make_tiny()), Contestant(name="b", model=make_vit())]
    found = compare(models, open_dataset(data), ["box"], limit=2, progress=False)
    for row in found.rows:
        assert row.encoder_s > 0
        assert row.decoder_s > 0
        assert row.peak_memory_bytes is None
    write_scatter(found, tmp_path / "scatter.png")
    with Image.open(tmp_path / "scatter.png") as picture:
        assert picture.width > 600


@pytest.mark.slow
def test_the_compare_command_measures(data, tmp_path, capsys):
    assert main([*compared(data, tmp_path), "--limit", "2", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out)["rows"]:
        assert row["encoder"]["latency_s"] > 0
        assert row["decoder"]["latency_s"] > 0
        assert 1e8 < row["peak_memory_bytes"] < 2e9  # most of it PyTorch itself
    with Image.open(tmp_path / "out" / "comparison.png") as picture:
        assert picture.width > 600


def test_the_evaluate_command_draws_the_worst(data, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    out = tmp_path / "out"
    assert main(["evaluate", str(tmp_path / "m"), "--data", str(data), "--out", str(out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert json.loads((out / "evaluation.json").read_text()) == content
    assert content["protocol"].startswith("sa1b-point")
    assert content["by_size"]["single"]["small"]["masks"] + content["by_size"]["single"]["medium"]["masks"] == 10
    with Image.open(out / "worst.png") as picture:
        assert picture.width == 4 * 320
    assert main(["evaluate", str(tmp_path / "m"), "--data", str(data), "--protocol", "boxx"]) == 2
    assert "boxx" in capsys.readouterr().err
