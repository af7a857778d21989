"""What a user types: results, JSON, exit codes, one line for every mistake."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from samlet.cli import main
from samlet.cli.common import giga, mega
from samlet.cli.parsers import FIRST_STEPS, build_parser
from samlet.data.masks import decode_rle
from samlet.evaluation.counts import _table, counted, digest
from samlet.zoo import ENTRIES, locate
from tests.conftest import PHOTOS
from tests.documents import DOCUMENTS
from tests.documents import commands as written_commands

CAT = str(PHOTOS / "cat.jpg")
SLIM = ["slim", "--teacher", "mobile_sam", "--images"]


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_does_not_wait_for_torch():
    code = "import sys, samlet.cli.parsers as c; c.build_parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_command_it_says_how_to_begin(capsys):
    """Every line that it shows can be typed."""
    assert run(capsys) == (0, FIRST_STEPS + "\n", "")
    shown = [shlex.split(line)[1:] for line in FIRST_STEPS.splitlines() if line.startswith("  samlet ")]
    assert [words[0] for words in shown] == ["segment", "segment", "slim", "demo"]
    assert all(callable(build_parser().parse_args(words).run) for words in shown)


def subparsers():
    (chosen,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return chosen


@pytest.mark.parametrize("command", list(subparsers().choices))
def test_every_command_has_help_worth_reading(capsys, command):
    """A summary, a description that says more, a sentence for every option, and an example in the documentation."""
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    parser = subparsers().choices[command]
    (summary,) = (action.help for action in subparsers()._choices_actions if action.dest == command)
    description = " ".join(parser.description.split())
    assert description in printed
    assert len(description) > 2 * len(summary) > 20
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else action.dest
        assert action.help != argparse.SUPPRESS, name
        assert len((action.help or "").split()) > 1, name
        shown = action.option_strings[0] if action.option_strings else str(action.metavar)
        assert shown in printed, name
    examples = [words for document in DOCUMENTS for words in written_commands(document)]
    assert any(words[0] == command for words in examples)


def test_models(capsys, monkeypatch):
    chosen = ("mobile_sam", "slimsam_77_uniform", "fast_sam_s")  # counting all of them takes its time
    monkeypatch.setattr("samlet.cli.models.ENTRIES", {name: ENTRIES[name] for name in chosen})
    monkeypatch.setenv("SAMLET_CACHE", "nowhere")
    code, out, _ = run(capsys, "models", "--json")
    found = {m["name"]: m for m in json.loads(out)["models"]}
    assert code == 0
    assert tuple(found) == chosen
    assert {name: m["available"] for name, m in found.items()} == {name: name == "mobile_sam" for name in chosen}
    assert {name: m["encoder"] for name, m in found.items()} == {name: ENTRIES[name].encoder for name in chosen}
    assert found["mobile_sam"]["parameters"] == 9_803_524
    assert found["slimsam_77_uniform"]["encoder_macs_modules"] < found["slimsam_77_uniform"]["encoder_macs_total"]
    assert found["fast_sam_s"]["encoder_macs_total"] is None
    assert found["slimsam_77_uniform"]["licence"] == ENTRIES["slimsam_77_uniform"].licence
    lines = run(capsys, "models")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *chosen]
    assert "9.80 M" in lines[1]


@pytest.mark.slow
def test_counts_of_the_zoo_are_those_of_the_models():
    """Of all architectures that are not large; a new model without a count is found, too."""
    configs = [config for entry in ENTRIES.values() if (config := entry.sam_config()) is not None]
    table = _table()
    assert {digest(config) for config in configs} == {*table}, "run scripts/count_zoo.py"
    for config in configs:
        if table[digest(config)][0] < 12e6:
            assert tuple(table[digest(config)]) == counted(config)


def test_the_whole_zoo_is_listed_and_the_largest_is_counted(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["NAME", *ENTRIES]
    code, out, _ = run(capsys, "cost", "sam_vit_h", "--no-measure", "--json")
    assert code == 0
    counted = json.loads(out)
    for said in (
        mega(counted["parameters"]), giga(counted["encoder"]["macs_modules"]), giga(counted["encoder"]["macs_total"]),
    ):  # fmt: skip
        assert said in lines["sam_vit_h"]


def test_cost(capsys):
    code, out, _ = run(capsys, "cost", "mobile_sam", "--image-size", 64, "--threads", 1, "--json")
    found = json.loads(out)
    assert code == 0
    parts = [found["encoder"], found["decoder"]]
    for key in ("parameters", "macs_modules", "macs_total"):
        assert found[key] == sum(part[key] for part in parts)
    assert found["parameters"] == 9_803_524
    assert found["encoder"]["macs_modules"] < found["encoder"]["macs_total"]
    assert all(part["latency_s"] > 0 for part in parts)
    folder = locate("mobile_sam")
    assert found["file_bytes"] == sum(path.stat().st_size for path in folder.iterdir() if path.suffix == ".safetensors")
    assert found["peak_memory_bytes"] > 1e8
    code, out, _ = run(capsys, "cost", "slimsam_77_uniform", "--no-measure", "--image-size", 512, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["image_size"], found["file_bytes"], found["peak_memory_bytes"]) == (512, None, None)
    assert found["encoder"]["latency_s"] is None


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
    values = {name: [1, 1] if name.endswith("_ci") else 1 for name in found["miou"]}  # it agrees with itself
    assert found["miou"] == values
    assert values.keys() == {f"{rule}{what}" for rule in ("single", "best", "oracle") for what in ("", "_ci")}
    assert (found["images"], found["masks"]) == (2, 32)


MISTAKES = {
    "no such model": (["cost", "mobilesam"], "did you mean mobile_sam"),
    "no such file": (["cost", "weights/sam.pth"], "no file or folder"),
    "no image": (["segment", "{tmp}/text.jpg", "--point", "1,1", "--out", "{tmp}/o"], "not an image"),
    "point outside": (
        ["segment", CAT, "--image-size", "64", "--point", "999,1", "--out", "{tmp}/o"], "999,1 lies outside the image",
    ),
    "unreadable point": (["segment", CAT, "--point", "a,b", "--out", "{tmp}/o"], "--point a,b cannot be read"),
    "a folder and a point": (
        ["segment", str(PHOTOS), "--point", "1,1", "--out", "{tmp}/o"], "is a folder; expected one image for a point",
    ),
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


def test_a_model_is_named_with_or_without_its_option(capsys):
    found = []
    for words in (["mobile_sam"], ["--model", "mobile_sam"]):
        assert main(["cost", *words, "--image-size", "64", "--no-measure", "--json"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    for words, said in ((["mobile_sam", "--model", "x"], "named twice"), ([], "no model; give M, or --model M")):
        with pytest.raises(SystemExit) as stopped:
            main(["cost", *words])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_compare_takes_the_prompts_of_evaluate():
    words = ["compare", "a", "b", "--data", "d", "--prompt", "box", "--prompt", "point", "--protocol", "point-3"]
    assert build_parser().parse_args(words).protocol == ["box", "sa1b-point", "point-3"]
    with pytest.raises(SystemExit):
        build_parser().parse_args(["compare", "a", "b", "--data", "d", "--prompt", "lines"])
