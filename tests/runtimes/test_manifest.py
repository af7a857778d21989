"""What an exported folder may say: every field that cannot be, every file that is missing, damaged or another."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import onnx
import pytest

import samlet
from samlet.baselines.sam2_onnx import find_pair
from samlet.checkpoints import load_checkpoint
from samlet.runtimes import is_exported, read_manifest
from samlet.zoo import load_weights
from tests.runtimes.exporting import describe, write_description

REMEDY = "export the model again with `samlet export`"
MISSING = object()
COUNTS = {"macs_modules": 1, "macs_total": 1, "macs_computed": 1}
WRONG = {
    "format": ("samlet", "format 'samlet'; expected samlet-export;"),
    "version": (2, "version 2; expected 1, which this samlet reads; update samlet"),
    "target": ("tflite", "target 'tflite'; expected one of executorch, onnx, openvino;"),
    "precision": (["float32"], r"precision \['float32'\]; expected one of float32, float16, bfloat16, int8;"),
    "runtime_precision": ("f8", "runtime_precision 'f8'; expected one of null, f32, bf16;"),
    "model": (MISSING, "model None; expected an object;"),
    "model ": ({"encoder": {}}, "model: decoder is missing; expected an object"),
    "files": ("encoder.onnx", "files 'encoder.onnx'; expected an object;"),
    "files ": ({"encoder": "encoder.onnx"}, "files.decoder None; expected the name of a file in the same folder that"),
    "files  ": ({"encoder": "../encoder.onnx", "decoder": "decoder.onnx"}, "files.encoder '../encoder.onnx'; expected"),
    "files   ": ({"encoder": "encoder.pkl", "decoder": "decoder.onnx"}, "ends with .onnx;"),
    "files    ": ({"encoder": "encoder.onnx", "decoder": "decoder.onnx", "prompts": 3}, "files.prompts 3; expected"),
    "image_sizes": ([], r"image_sizes \[\]; expected null, or a list of multiples of 16"),
    "image_sizes ": ([512, 100], "expected null, or a list of multiples of 16"),
    "image_sizes  ": ([True], "expected null, or a list of multiples of 16"),
    "prompt_batch": (0, "prompt_batch 0; expected null, or a whole number above 0;"),
    "points": ("8", "points '8'; expected null, or a whole number above 0;"),
    "parameters": ({"encoder": 1.5}, "parameters.encoder 1.5; expected a whole number above 0;"),
    "macs": ({"encoder": COUNTS}, "macs.decoder None; expected an object of macs_modules, macs_total, macs_computed"),
    "macs ": ({"encoder": COUNTS, "decoder": {**COUNTS, "macs_total": -1}}, "macs.decoder {.*whole numbers above 0;"),
    "macs_image_size": (0, "macs_image_size 0; expected null, or a whole number above 0;"),
    "usage": ("see the README", "usage 'see the README'; expected an object;"),
    "gate": ("passed", "gate 'passed'; expected an object;"),
    "forced": (1, "forced 1; expected true or false;"),
    "provenance": ("x" * 200, "provenance 'x{79}…; expected an object;"),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_field_is_checked(case, sam, tmp_path):
    value, message = WRONG[case]
    content = describe(sam, "onnx", **{case.strip(): value})
    if value is MISSING:
        del content[case.strip()]
    write_description(tmp_path, content)
    with pytest.raises(samlet.CheckpointError, match=message) as found:
        samlet.load(tmp_path)
    assert str(tmp_path / "export.json") in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("text", "message"), [("[]", "holds a JSON list"), ("{", "cannot be read as JSON")])
def test_what_is_no_description(text, message, tmp_path):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(samlet.CheckpointError, match=message):
        samlet.load(tmp_path)


def test_missing_files_are_named(folder, tmp_path):
    for path in sorted(folder.iterdir()):
        if path.name != "export.json":
            shutil.rmtree(tmp_path)
            shutil.copytree(folder, tmp_path)
            (tmp_path / path.name).unlink()
            with pytest.raises(samlet.CheckpointError, match=rf"{path.name} is missing; expected a file, .*{REMEDY}"):
                samlet.load(tmp_path)


def test_damaged_files_are_named(folder, tmp_path):
    for path in [*folder.glob("*.onnx"), *folder.glob("*.xml")]:
        shutil.rmtree(tmp_path)
        shutil.copytree(folder, tmp_path)
        (tmp_path / path.name).write_bytes(path.read_bytes()[:200])
        with pytest.raises(samlet.CheckpointError, match=rf"{path.name} is damaged or no .*; copy it again") as found:
            samlet.load(tmp_path)
        assert "\n" not in str(found.value)


def test_graphs_with_another_interface_are_refused(onnx_folder, sam, tmp_path):
    shutil.copytree(onnx_folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(onnx_folder / "encoder.onnx", tmp_path / "decoder.onnx")
    with pytest.raises(
        samlet.CheckpointError,
        match=r"decoder.onnx has the inputs image float32 \(\?, 3, \?, \?\); expected embedding float32 \(1, 32, \?, "
        rf"\?\), points float32 \(\?, \?, 2\), labels int64 \(\?, \?\), .*; {REMEDY}",
    ):
        samlet.load(tmp_path)
    graph = onnx.load(onnx_folder / "decoder.onnx")
    for node in graph.graph.node:
        node.output[:] = ["scores" if name == "iou" else name for name in node.output]
    graph.graph.output[1].name = "scores"
    onnx.save(graph, tmp_path / "decoder.onnx")
    with pytest.raises(
        samlet.CheckpointError, match=r"has the outputs low_res .*, scores .*; expected low_res .*, iou"
    ):
        samlet.load(tmp_path)
    shutil.copy(onnx_folder / "decoder.onnx", tmp_path)
    model = describe(sam, "onnx")["model"]
    model["encoder"]["out_channels"] = 64
    write_description(tmp_path, describe(sam, "onnx", model=model))
    with pytest.raises(samlet.CheckpointError, match=r"encoder.onnx has the outputs embedding .*32.*expected.*64"):
        samlet.load(tmp_path)


def test_a_graph_that_cannot_be_run_says_so(sam, onnx_folder, fixed_folder, tmp_path):
    shutil.copytree(fixed_folder, tmp_path, dirs_exist_ok=True)
    write_description(tmp_path, describe(sam, "onnx", image_sizes=None))  # its shapes are fixed all the same
    exported = samlet.load(tmp_path)
    predictor = samlet.Predictor(exported, image_size=64)
    predictor.set_image(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(samlet.CheckpointError, match=rf"decoder.onnx cannot be run: .*; {REMEDY}"):
        predictor.predict(points=[[1, 1]])
    assert read_manifest(onnx_folder).paths == (onnx_folder / "decoder.onnx", onnx_folder / "encoder.onnx")


@pytest.mark.parametrize(
    ("target", "module", "name"),
    [
        ("onnx", "onnxruntime", "ONNX Runtime"),
        ("openvino", "openvino", "OpenVINO"),
        ("executorch", "executorch.runtime", "ExecuTorch"),
    ],
)
def test_a_missing_runtime_names_what_to_install(target, module, name, sam, tmp_path, monkeypatch):
    content = describe(sam, target)
    for file in content["files"].values():
        (tmp_path / file).write_bytes(b"graph")
        (tmp_path / file).with_suffix(".bin").write_bytes(b"weights")
    write_description(tmp_path, content)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(samlet.InputError, match=rf"runs on {name}, which is .* pip install 'samlet\[{target}\]'"):
        samlet.load(tmp_path)


def test_it_has_no_weights_to_train_or_save(onnx_folder, native_folder, photo_folder, tmp_path, sam):
    exported = samlet.load(onnx_folder)
    refused = "an exported model cannot be trained; give the model it was made from"
    for load in (load_weights, load_checkpoint):
        with pytest.raises(samlet.InputError, match=refused):
            load(onnx_folder)
    with pytest.raises(samlet.InputError, match=f"the teacher is exported: {refused}"):
        samlet.slim(exported, photo_folder)
    with pytest.raises(samlet.InputError, match=f"the student is exported: {refused}"):
        samlet.distill(sam, exported, samlet.open_dataset(photo_folder))
    with pytest.raises(samlet.InputError, match=r"graphs cannot be saved .* copy its folder, or give the model it was"):
        samlet.save(exported, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    assert load_weights(native_folder).fingerprint() == sam.fingerprint()


def test_it_is_known_by_its_description_alone(onnx_folder, native_folder, tmp_path):
    assert is_exported(onnx_folder)
    assert not is_exported(native_folder)
    assert find_pair(onnx_folder) is None  # no SAM 2
    shutil.copytree(onnx_folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(native_folder / "config.json", tmp_path)
    before = samlet.load(tmp_path).fingerprint()
    assert before == samlet.load(onnx_folder).fingerprint()
    described = json.loads((tmp_path / "export.json").read_text())
    write_description(tmp_path, {**described, "provenance": {"note": "changes nothing"}})
    assert samlet.load(tmp_path).fingerprint() == before
    shutil.copy(tmp_path / "encoder.onnx", tmp_path / "third.onnx")
    write_description(tmp_path, {**described, "files": {**described["files"], "prompts": "third.onnx"}})
    assert samlet.load(tmp_path).fingerprint() != before
