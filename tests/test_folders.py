"""What stands in `OUT` is the same from Python and from the command line."""

from __future__ import annotations

import json

import pytest

import samlet
from samlet.cli import main
from samlet.runs.folder import LOCK
from tests.conftest import make_tiny
from tests.distillation.test_distill import write_data

MEASURED = ("seconds", "latency", "images_per_second", "memory", "shares_of_time")


def plain(value):
    """JSON without what differs between two runs of the same code."""
    if isinstance(value, dict):
        return {name: plain(inside) for name, inside in value.items() if not any(m in name for m in MEASURED)}
    return [plain(inside) for inside in value] if isinstance(value, list) else value


def same(one, other):
    """Names of files, weights, and what JSON says of both folders."""
    names = {path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file() and "board" not in str(path)}
    assert names == {
        path.relative_to(other).as_posix() for path in other.rglob("*") if path.is_file() and "board" not in str(path)
    }
    assert {"model.safetensors", "config.json", "provenance.json", "report.md"} <= names
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    for name in names:
        if name.endswith(".json"):
            assert plain(json.loads((one / name).read_text())) == plain(json.loads((other / name).read_text())), name
    return True


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    samlet.save(make_tiny(), folder)
    return folder


def test_slim(tiny, photo_folder, tmp_path):
    settings = {"steps": 2, "image_size": 64, "scoring_images": 2, "recovery_images": 2, "precision": "fp32"}
    words = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = ["slim", "--teacher", str(tiny), "--images", str(photo_folder), "--out", str(tmp_path / "a"), *words]
    assert main(command) == 0
    made = samlet.slim(tiny, photo_folder, out=tmp_path / "b", **settings)
    assert same(tmp_path / "a", tmp_path / "b")
    assert samlet.load(tmp_path / "b").fingerprint() == made.fingerprint()
    with pytest.raises(samlet.InputError, match="already holds"):
        samlet.slim(tiny, photo_folder, out=tmp_path / "b", **settings)
    assert samlet.slim(tiny, photo_folder, **settings).fingerprint() == made.fingerprint()
    assert not (tmp_path / "b" / LOCK).exists()


def test_distill(tiny, tmp_path):
    data = write_data(tmp_path / "data")
    words = ["--steps", "2", "--image-size", "64", "--prompts", "4", "--rounds", "1", "--precision", "fp32"]
    command = ["distill", "--teacher", str(tiny), "--student", str(tiny), "--data", str(data), *words]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    settings = {"steps": 2, "image_size": 64, "prompts": 4, "rounds": 1, "precision": "fp32"}
    samlet.distill(tiny, tiny, data, out=tmp_path / "b", **settings)
    assert same(tmp_path / "a", tmp_path / "b")
    with pytest.raises(samlet.InputError, match="distill was given 'stepz'; expected fields of DistillConfig"):
        samlet.distill(tiny, tiny, data, stepz=2)


def test_quantize(tiny, photo_folder, tmp_path):
    words = ["--image-size", "64", "--calibration-images", "1", "--candidates", "4", "--rounds", "1", "--prompts", "2"]
    command = ["quantize", str(tiny), "--images", str(photo_folder), "--out", str(tmp_path / "a"), *words]
    assert main(command) == 0
    settings = {"image_size": 64, "calibration_images": 1, "candidates": 4, "rounds": 1, "prompts": 2}
    samlet.quantize(tiny, photo_folder, out=tmp_path / "b", **settings)
    assert same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"recipe"', "null", '"text"', "[" * 100_000])
def test_a_damaged_run_is_told_with_the_remedy(tiny, photo_folder, tmp_path, capsys, content):
    commands = {
        "slim": ["slim", "--teacher", str(tiny), "--images", str(photo_folder), "--steps", "2", "--image-size", "64"],
        "quantize": ["quantize", str(tiny), "--images", str(photo_folder), "--image-size", "64"],
        "label": ["label", "--teacher", str(tiny), "--images", str(photo_folder), "--points-per-side", "2"],
        "evaluate": ["evaluate", str(tiny), "--data", str(photo_folder), "--reference", str(tiny)],
    }
    for name, command in commands.items():
        out = tmp_path / name
        run = out / "run" / "run.json" if name in ("slim", "quantize") else out / "run.json"
        run.parent.mkdir(parents=True)
        run.write_text(content)
        assert main([*command, "--out", str(out)]) == 2, name
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert (
            "is damaged, so the run there cannot be continued; give --overwrite (overwrite=True) to begin again" in said
        )
        assert run.read_text() == content
