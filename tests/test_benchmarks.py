"""The benchmarks run, at a token size."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TOKENS = {
    "encoder_speed": ["--image-size", "256", "--repeats", "1"],
    "aligning_speed": ["--steps", "2", "--image-size", "64", "--rounds", "1"],
    "vit_heads": ["--image-size", "64", "--repeats", "1", "--only-77"],
    "baseline": ["--limit", "1"],
    "published_costs": ["--only", "mobile_sam"],
}


@pytest.mark.parametrize("name", TOKENS)
def test_benchmark_runs_and_writes_its_protocol(name, tmp_path, request):
    if name == "baseline":
        request.getfixturevalue("shared")
    script = ROOT / "benchmarks" / f"{name}.py"
    command = [sys.executable, str(script), *TOKENS[name], "--out", str(tmp_path)]
    subprocess.run(command, check=True, env=dict(os.environ), capture_output=True, timeout=300)
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["protocol"]
    assert content["machine"]["threads"] == 2
    assert content.keys() > {"protocol", "machine"}


def test_committed_results_say_how_they_were_made():
    results = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert {p.stem for p in results} >= TOKENS.keys()
    for path in results:
        assert {"protocol", "machine"} <= json.loads(path.read_text()).keys(), path.name


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("part", ["speed", "recall"])
def test_everything_is_measured(part, tmp_path):
    small = ["--image-size", "256", "--points-per-side", "8", "--repeats", "1", "--limit", "1", "--out", str(tmp_path)]
    script = str(ROOT / "benchmarks" / "everything.py")
    subprocess.run([sys.executable, script, part, *small], check=True, env=dict(os.environ), timeout=300)
    content = json.loads((tmp_path / f"everything_{part}.json").read_text())
    rows = content["variants"] if part == "speed" else content["settings"]
    assert len(rows) > 5
    assert all(row["seconds"] > 0 and row["masks"] >= 0 for row in rows.values())


@pytest.mark.usefixtures("shared")
def test_models_are_compared(tmp_path):
    small = ["--steps", "2", "--slim-size", "64", "--scoring-images", "1", "--image-size", "64", "--limit", "1"]
    script = str(ROOT / "benchmarks" / "comparison.py")
    command = [sys.executable, script, *small, "--models", str(tmp_path / "models"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, env=dict(os.environ), timeout=400)
    content = json.loads((tmp_path / "comparison.json").read_text())
    for found in content["data"].values():
        assert len(found["rows"]) == 3
        assert all(row["encoder"]["latency_s"] > 0 for row in found["rows"])


@pytest.mark.usefixtures("shared")
def test_distillation_tables_run_and_continue(tmp_path):
    small = ["--steps", "2", "--image-size", "64", "--limit", "1", "--photographs-used", "10", "--label-size", "256"]
    small += ["--scoring-images", "1", "--recovery-images", "2", "--prompts", "4", "--threads", "2"]
    small += ["--out", str(tmp_path), "--models", str(tmp_path / "models")]
    script = str(ROOT / "benchmarks" / "distillation.py")
    names = [["+ token"], ["both, 0.5"], ["+ token", "embedding"]]  # the first with masks and without labels
    for table, only, rows in zip(("ablation", "recovery", "ablation"), names, (2, 1, 3), strict=True):
        command = [sys.executable, script, table, *small, *(word for name in only for word in ("--only", name))]
        subprocess.run(command, check=True, env=dict(os.environ), capture_output=True, timeout=400)
        content = json.loads((tmp_path / f"distillation_{table}.json").read_text())
        assert len(content["rows"]) == rows
        assert content["protocol"]
        assert {"name", "student", "settings", "miou"} <= content["rows"][-1].keys()


@pytest.mark.parametrize("table", ["importance", "selection", "switches", "curve"])
def test_slimming_tables_run_and_continue(table, tmp_path):
    photos = str(ROOT / "examples" / "photos")
    small = ["--steps", "2", "--image-size", "64", "--scoring-images", "1", "--limit", "1", "--repeats", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "slimming_tables.py"), table, *small, "--images", photos]
    for rows in (1, 2) if table == "curve" else (1,):
        more = ["--rows", str(rows), "--out", str(tmp_path)]
        subprocess.run([*command, *more], check=True, env=dict(os.environ), capture_output=True, timeout=300)
        content = json.loads((tmp_path / f"slimming_{table}.json").read_text())
        assert content["protocol"]
        assert len(content["rows"]) == rows
    assert {"name", "settings", "agreement", "miou", "macs_modules", "parameters"} <= content["rows"][0].keys()
    assert ("latency_s" in content) == (table == "curve")


@pytest.mark.usefixtures("shared")
def test_quantization_tables_run_and_continue(tmp_path):
    small = ["--image-size", "64", "--limit", "1", "--calibration-images", "1", "--candidates", "4"]
    command = [sys.executable, str(ROOT / "benchmarks" / "quantization.py"), "aim", *small, "--out", str(tmp_path)]
    for rows in (1, 2):
        more = ["--rows", str(rows), "--models", str(tmp_path / "models"), "--keep"]
        subprocess.run([*command, *more], check=True, env=dict(os.environ), capture_output=True, timeout=400)
        content = json.loads((tmp_path / "quantization_aim.json").read_text())
        assert len(content["rows"]) == rows
        assert content["protocol"]
    assert {"name", "model", "settings", "miou", "drop"} <= content["rows"][0].keys()
    assert content["float"]["mobile_sam"]["box"] > 0


@pytest.mark.usefixtures("shared")
def test_exports_are_measured(tmp_path):
    small = ["--image-size", "256", "--limit", "1", "--repeats", "1", "--points-per-side", "4", "--compared", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "export.py"), "speed", "accuracy", "everything", *small]
    more = ["--only", "openvino bfloat16", "--models", str(tmp_path / "models"), "--out", str(tmp_path)]
    subprocess.run([*command, *more], check=True, env=dict(os.environ), capture_output=True, timeout=400)
    speed, accuracy, everything = (
        json.loads((tmp_path / f"export_{name}.json").read_text()) for name in ("speed", "accuracy", "everything")
    )
    assert set(speed["encoder_s"]) == {"published modules", "samlet", "openvino bfloat16"}
    assert set(accuracy["miou"]) == set(everything["seconds"]) - {"samlet"} | {"float32"}
