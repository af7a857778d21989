"""Exports of small models, really written and really run."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch

import samlet
from samlet.cli import main
from samlet.data.images import read_image
from samlet.errors import InputError, SamletError
from samlet.export import ExportConfig, export_model
from samlet.export.gate import Figures, refusals
from samlet.export.machine import has_vnni
from samlet.models.sam import Sam
from samlet.quantization import QuantConfig
from samlet.runtimes import ExportedSam
from tests.conftest import PHOTOS, make_tiny, make_vit

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

QUICK = QuantConfig(
    scheme="integer", metric="mse", calibration_images=2, candidates=12, rounds=1, samples=32, prompts=4
)


@pytest.fixture(scope="module")
def sam():
    return make_tiny()


@pytest.fixture(scope="module")
def float_folder(sam, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "float"
    made = export_model(sam, folder, "onnx", full_masks=True, photographs=1)
    return folder, made


@pytest.fixture(scope="module")
def int8_folder(sam, tmp_path_factory):
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("exports") / "int8"
    made = export_model(
        sam, folder, "openvino", precision="int8", images=PHOTOS, quantization=QUICK, photographs=1, force=True
    )
    return folder, made


def prompts(count, points, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, points, 2, generator=generator) * size
    return places, torch.randint(0, 2, (count, points), generator=generator)


def test_a_float_export_agrees_and_explains_itself(float_folder):
    folder, made = float_folder
    assert made.figures.agreement > 0.999
    assert not made.refused
    content = json.loads((folder / "export.json").read_text())
    assert content["gate"]["agreement"] == made.figures.agreement
    assert content["image_sizes"] is None
    assert not content["forced"]
    assert (folder / "comparison.png").is_file()
    assert f"{made.figures.agreement:.4f}" in (folder / "report.md").read_text()


@pytest.mark.parametrize("size", [(128, 128), (64, 160), (192, 96), (32, 32)])
@torch.no_grad()
def test_the_encoder_takes_any_size(float_folder, sam, size):
    exported = samlet.load(float_folder[0])
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = sam.encode(images)
    assert torch.allclose(exported.encode(images), expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("points", [0, 1, 3, 20])
@pytest.mark.parametrize("kind", ["points", "boxes", "mask", "padded"])
@torch.no_grad()
def test_the_decoder_answers_as_the_source(float_folder, sam, points, kind):
    exported = samlet.load(float_folder[0])
    embedding = sam.encode(torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(2)))
    places, labels = prompts(3, points, 96)
    boxes = torch.tensor([[5.0, 6.0, 60.0, 70.0]]).repeat(3, 1) if kind == "boxes" else None
    masks = torch.randn(3, 1, 24, 32, generator=torch.Generator().manual_seed(3)) if kind == "mask" else None
    if kind == "padded" and points:
        labels[1, max(1, points // 2) :] = -2
    given = (None, None) if not points else (places, labels)
    if not points and boxes is None and masks is None:
        given = (places, labels)
    asked = (*given, boxes, masks)
    found, expected = exported.decode(embedding, *asked), sam.decode(embedding, *asked)
    if not points and boxes is None and masks is None:  # samlet's own decoder adds SAM's filler there
        expected = sam.decode(embedding, None, None, None, None)
    assert torch.allclose(found.iou, expected.iou, atol=1e-4)
    assert torch.allclose(found.low_res, expected.low_res, atol=1e-3 * float(expected.low_res.abs().max()))


def test_full_masks_are_those_of_the_predictor(float_folder, sam):
    import onnxruntime

    folder, _ = float_folder
    session = onnxruntime.InferenceSession(str(folder / "decoder.onnx"))
    image = read_image(PHOTOS / "cat.jpg")
    predictor = samlet.Predictor(sam)
    predictor.set_image(image)
    height, width = image.shape[:2]
    expected = predictor.predict(points=[[width / 3, height / 2]], multimask=True)
    scale = sam.image_size / max(height, width)
    place = np.array([[[width / 3 * round(width * scale) / width, height / 2 * round(height * scale) / height]]], "f")
    inputs = {
        "embedding": predictor.embedding.numpy(),
        "points": place,
        "labels": np.ones((1, 1), np.int64),
        "mask": np.zeros((1, 1, 32, 32), np.float32),
        "has_mask": np.zeros(1, np.float32),
        "original_size": np.array([height, width]),
    }
    (masks,) = session.run(["masks"], inputs)
    assert masks.shape == (1, 4, height, width)
    assert np.mean((masks[:, 1:] > 0) == expected.masks) > 0.9999


def test_int8_runs_the_simulation(int8_folder):
    folder, made = int8_folder
    figures = made.figures
    assert figures.simulation_sqnr > 25  # the rest is computed in bfloat16, and a wrong step anywhere gives far less
    assert figures.embedding_sqnr > 25
    assert sum(figures.bytes.values()) < sum(figures.float_bytes.values())
    assert {"encoder", "decoder"} == set(figures.float_latency_s)
    assert [layer["name"] for layer in made.layers if layer["weights"] == 8]
    exported = samlet.load(folder)
    assert exported.manifest.precision == "int8"


def test_an_exported_model_is_not_exported_again(float_folder, tmp_path):
    with pytest.raises(InputError, match="model that it was made from"):
        export_model(ExportedSam(float_folder[0]), tmp_path / "x", "onnx")


def test_a_vit_has_one_size(tmp_path):
    sam = make_vit()
    made = export_model(sam, tmp_path / "vit", "onnx", image_size=96, photographs=1)
    assert made.figures.agreement > 0.999
    exported = samlet.load(tmp_path / "vit")
    assert exported.image_size == 96
    with pytest.raises(InputError, match="96"):
        exported.check_image_size(128)


def test_the_gate_refuses_and_writes_nothing(sam, tmp_path, tmp_path_factory, monkeypatch):
    from samlet.export import procedure

    files = tmp_path_factory.mktemp("broken")

    def broken(_, folder, *others, **named):
        names = known or real(make_tiny(seed=5), files, *others, **named)
        known.update(names)
        shutil.copytree(files, folder, dirs_exist_ok=True)
        return names

    real, known = procedure.write_graphs, {}
    monkeypatch.setattr(procedure, "write_graphs", broken)
    with pytest.raises(SamletError, match=r"mask IoU with the source model is 0\.\d+; expected at least 0\.99"):
        export_model(sam, tmp_path / "out", "onnx", photographs=1)
    assert not list(tmp_path.iterdir())
    made = export_model(sam, tmp_path / "out", "onnx", photographs=1, force=True)
    assert made.refused
    assert json.loads((tmp_path / "out" / "export.json").read_text())["forced"]


def figures(**changes):
    base = Figures(
        agreement=0.95,
        worst=0.5,
        prompts=10,
        latency_s={"encoder": 1.0, "decoder": 1.0},
        float_latency_s={"encoder": 2.0, "decoder": 1.0},
        bytes={"encoder": 10, "decoder": 10},
        float_bytes={"encoder": 40, "decoder": 40},
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"agreement": 0.5}, ["0.5000"]),
        ({"agreement": float("nan")}, ["nan"]),
        ({"latency_s": {"encoder": 3.0, "decoder": 1.0}}, ["faster"]),
        ({"bytes": {"encoder": 90, "decoder": 10}}, ["smaller"]),
    ],
)
def test_what_the_gate_asks_of_int8(changes, said):
    found = refusals(figures(**changes), ExportConfig(to="onnx", precision="int8"))
    assert len(found) == len(said)
    assert all(word in reason for word, reason in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "tflite"}, "target 'tflite'"),
        ({"to": "onnx", "precision": "int4"}, "precision 'int4'"),
        ({"to": "hf", "precision": "int8"}, "hf is written in float32"),
        ({"to": "onnx", "precision": "bfloat16"}, "openvino alone"),
        ({"to": "executorch", "full_masks": True}, "full-size masks"),
        ({"to": "onnx", "prompts": 0}, "prompts is 0"),
        ({"to": "onnx", "least_agreement": 2}, "least agreement is 2"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        ExportConfig(**settings)


def test_int8_wants_photographs(sam, tmp_path):
    with pytest.raises(InputError, match="--images"):
        export_model(sam, tmp_path / "x", "onnx", precision="int8")
    with pytest.raises(InputError, match="scheme twin"):
        export_model(sam, tmp_path / "x", "onnx", precision="int8", images=PHOTOS, quantization=QuantConfig())


def test_a_folder_that_holds_something_is_left_alone(sam, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds"):
        export_model(sam, tmp_path, "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx512_vnni sse", True),
        ("flags\t\t: fpu sse", False),
        ("Features\t: fp asimd asimddp", True),
        ("model name: none", None),
    ],
)
def test_whether_the_cpu_multiplies_int8(tmp_path, line, expected):
    (tmp_path / "cpuinfo").write_text(f"processor: 0\n{line}\n")
    assert has_vnni(tmp_path / "cpuinfo") is expected
    assert has_vnni(tmp_path / "missing") is None


def test_a_cpu_without_vnni_is_told(monkeypatch):
    from samlet.export import machine, procedure

    monkeypatch.setattr(machine, "has_vnni", lambda: False)
    assert "no VNNI" in procedure._notes(ExportConfig(to="onnx", precision="int8"))[0]
    assert not procedure._notes(ExportConfig(to="onnx"))


def test_hf_and_segment_anything(tmp_path):
    pytest.importorskip("transformers")
    from samlet.models import SamConfig, ViTConfig
    from tests.conftest import randomise

    config = ViTConfig(image_size=64, embed_dim=24, num_heads=(2, 2), qk_dims=(12, 12), v_dims=(12, 12),
                       mlp_dims=(48, 48), scale_dim=12, window_size=2, global_blocks=(1,))  # fmt: skip
    regular = Sam(SamConfig(encoder=config)).eval()
    randomise(regular)
    made = export_model(regular, tmp_path / "hf", "hf", photographs=1)
    assert made.figures.agreement == 1
    made = export_model(regular, tmp_path / "sa", "segment-anything", photographs=1)
    assert made.figures.agreement == 1
    assert set(made.files) == {"model.pth"}
    thin = dataclasses.replace(config, scale_dim=24)  # heads half as wide as they were, as uniform slimming leaves them
    slimmed = Sam(SamConfig(encoder=thin)).eval()
    randomise(slimmed)
    assert export_model(slimmed, tmp_path / "thin", "hf", photographs=1).figures.agreement > 0.9999
    with pytest.raises(InputError, match="--selection uniform"):
        export_model(make_vit(), tmp_path / "irregular", "hf", photographs=1)


def test_the_command_line(sam, tmp_path, capsys):
    samlet.save(sam, tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agreement"] > 0.999
    assert {entry["path"].rpartition("/")[2] for entry in found["files"]} >= {"encoder.onnx", "decoder.onnx"}
    assert set(found) >= {"files", "agreement", "latency_s", "float_latency_s", "refused"}
    assert main([*arguments[:-2], str(tmp_path / "int8"), "--int8"]) == 2
    assert "--images" in capsys.readouterr().err


def test_constants_are_stored_once(float_folder):
    graph = onnx.load(float_folder[0] / "encoder.onnx").graph
    seen = [
        (entry.data_type, tuple(entry.dims), onnx.numpy_helper.to_array(entry).tobytes()) for entry in graph.initializer
    ]
    assert len(seen) == len(set(seen))
    assert not any(node.metadata_props for node in graph.node)
