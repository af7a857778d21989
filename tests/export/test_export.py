"""Exports of small models, really written and really run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

import samlet
from samlet.cli import main
from samlet.data.images import read_image
from samlet.errors import InputError, SamletError
from samlet.export.config import ExportConfig
from samlet.export.fixed_size import fixed_size
from samlet.export.float16 import in_half
from samlet.export.graphs import ENCODER_INPUTS, DecoderGraph, EncoderGraph
from samlet.export.int8_layers import with_integers
from samlet.export.machine import has_vnni
from samlet.export.onnx_files import write_onnx
from samlet.export.pipeline import export_model
from samlet.export.verification import Figures, refusals, sqnr
from samlet.models import DecoderConfig, SamConfig, TinyViTConfig, ViTConfig
from samlet.models.quantized import InputQuantizer, quantized
from samlet.models.sam import Sam
from samlet.quantization.config import QuantConfig
from samlet.runtimes import ExportedSam
from tests.conftest import CHANNELS, PHOTOS, SMALL_DECODER, make_vit, randomise

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

QUICK = QuantConfig(  # where a CPU has no VNNI, OpenVINO's sums of weights of 8 bits overflow
    scheme="integer", weights=7, metric="mse", calibration_images=1, candidates=8, rounds=1, samples=16, prompts=2
)
DECODER = dataclasses.replace(SMALL_DECODER, depth=1, num_heads=2, iou_head_depth=2, mlp_dim=1024)
"""Few layers, each of which takes time to write, and one that shows what int8 saves."""


def randomised(encoder: TinyViTConfig | ViTConfig, decoder: DecoderConfig = DECODER) -> Sam:
    sam = Sam(SamConfig(encoder=encoder, decoder=decoder))
    randomise(sam)
    return sam.eval()


@pytest.fixture(scope="module")
def sam():
    """One convolutional stage, one with attention in windows that need padding, and two that only merge."""
    encoder = TinyViTConfig(
        image_size=128,
        stem_dim=8,
        embed_dims=(16, 16, 24, 32),
        mbconv_dims=(24,),
        merge_dims=(24, 24, 32),
        num_heads=((2,), (), ()),
        qk_dims=((8,), (), ()),
        v_dims=((12,), (), ()),
        mlp_dims=((48,), (), ()),
        scale_dim=8,
        window_sizes=(3, 4, 3),
        out_channels=CHANNELS,
    )
    return randomised(encoder)


@pytest.fixture(scope="module")
def vit():
    """One block of windows and one that attends everywhere."""
    encoder = ViTConfig(
        image_size=128,
        embed_dim=24,
        num_heads=(2, 3),
        qk_dims=(8, 10),
        v_dims=(12, 8),
        mlp_dims=(32, 40),
        scale_dim=8,
        window_size=3,
        global_blocks=(1,),
        out_channels=CHANNELS,
    )
    return randomised(encoder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a small photograph."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.open(PHOTOS / "cat.jpg").resize((90, 60)).save(folder / "cat.png")
    return folder


@pytest.fixture(scope="module")
def float_folder(sam, pictures, tmp_path_factory):
    """What the command wrote, and what it said."""
    folder = tmp_path_factory.mktemp("exports")
    samlet.save(sam, folder / "model")
    arguments = ["export", folder / "model", "--to", "onnx", "--images", pictures, "--out", folder / "float", "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([str(argument) for argument in arguments]) == 0
    return folder / "float", json.loads(printed.getvalue())


def prompts(count, points, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, points, 2, generator=generator) * size
    return places, torch.randint(0, 2, (count, points), generator=generator)


def test_a_float_export_agrees_and_explains_itself(float_folder, sam):
    folder, said = float_folder
    assert said["agreement"] > 0.999
    assert said["refused"] == []
    files = {entry["path"].rpartition("/")[2]: entry for entry in said["files"]}
    assert files.keys() == {path.name for path in folder.iterdir()} - {"report.md"}
    assert {"encoder.onnx", "decoder.onnx", "export.json", "comparison.png"} <= files.keys()
    assert {"encoder", "decoder"} == said["latency_s"].keys()
    assert said["float_latency_s"] is None
    content = json.loads((folder / "export.json").read_text())
    assert content["gate"]["agreement"] == said["agreement"]
    assert 16 < content["gate"]["prompts"] <= 32  # points, and boxes of the masks there
    assert content["image_sizes"] is None
    assert not content["forced"]
    assert content["provenance"]["source"] == {"name": "model", "weights_sha256": sam.fingerprint()}
    assert f"{said['agreement']:.4f}" in (folder / "report.md").read_text()


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


def assert_full_masks(sam, answer, size, least=0.9999):
    """`answer` gives all masks of an image for the inputs of the decoder's graph."""
    image = read_image(PHOTOS / "cat.jpg")
    predictor = samlet.Predictor(sam, size)
    predictor.set_image(image)
    height, width = image.shape[:2]
    expected = predictor.predict(points=[[width / 3, height / 2]], multimask=True)
    scale = size / max(height, width)
    place = [[[width / 3 * round(width * scale) / width, height / 2 * round(height * scale) / height]]]
    masks = answer(
        embedding=predictor.embedding,
        points=torch.tensor(place, dtype=torch.float32),
        labels=torch.ones(1, 1, dtype=torch.long),
        mask=torch.zeros(1, 1, size // 4, size // 4),
        has_mask=torch.zeros(1),
        original_size=torch.tensor([height, width]),
    )
    assert masks.shape == (1, 4, height, width)
    assert 0.01 < expected.masks.mean() < 0.99
    assert np.mean((masks[:, 1:] > 0) == expected.masks) > least


@torch.no_grad()
def test_full_masks_are_those_of_the_predictor(sam):
    assert_full_masks(sam, lambda **inputs: DecoderGraph(sam, full_masks=True)(**inputs)[2].numpy(), sam.image_size)


def test_an_exported_model_is_not_exported_again(float_folder, tmp_path):
    with pytest.raises(InputError, match="model that it was made from"):
        export_model(ExportedSam(float_folder[0]), tmp_path / "x", "onnx")


def test_a_vit_has_one_size(sam, vit):
    assert fixed_size(sam, ExportConfig(to="onnx")) is None
    assert fixed_size(sam, ExportConfig(to="onnx", image_size=96)) == 96
    assert fixed_size(vit, ExportConfig(to="onnx")) == 128
    assert fixed_size(vit, ExportConfig(to="onnx", image_size=96)) == 96


@torch.no_grad()
def test_a_vit_in_a_graph_encodes_as_itself(vit, tmp_path):
    axes = {"image": {0: torch.export.Dim("images")}}
    write_onnx(
        EncoderGraph(vit), [torch.zeros(2, 3, 96, 96)], tmp_path / "vit.onnx", ENCODER_INPUTS, ("embedding",), axes
    )
    for count in (1, 3):
        images = torch.randn(count, 3, 96, 96, generator=torch.Generator().manual_seed(count))
        assert sqnr(run_onnx(tmp_path / "vit.onnx", image=images)[0], vit.encode(images)) > 90


def run_onnx(path, **inputs):
    session = onnxruntime.InferenceSession(str(path))
    return [torch.from_numpy(found) for found in session.run(None, {name: x.numpy() for name, x in inputs.items()})]


@pytest.mark.long
def test_a_whole_vit_in_half_precision_with_full_masks(vit, pictures, tmp_path):
    made = export_model(
        vit, tmp_path / "vit", "onnx", precision="float16", image_size=96, full_masks=True, images=pictures
    )
    assert made.figures.agreement > 0.99
    stored = {entry.data_type for entry in onnx.load(tmp_path / "vit" / "encoder.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in stored
    assert onnx.TensorProto.FLOAT not in stored
    exported = samlet.load(tmp_path / "vit")
    assert exported.image_size == 96
    with pytest.raises(InputError, match="96"):
        exported.check_image_size(128)
    decoder = tmp_path / "vit" / "decoder.onnx"
    assert_full_masks(vit, lambda **inputs: run_onnx(decoder, **inputs)[2].numpy(), 96, least=0.995)


class Layers(nn.Module):
    """The three kinds of layers that integers run, each on the same input, simulated.

    Weights use half of their range: where a CPU has no VNNI, OpenVINO's sums of larger ones overflow.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.up, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(3, 6, 2, 2), nn.Linear(4, 9)
        for step, (name, layer) in zip((0.02, 0.03, 0.025), list(self.named_children()), strict=True):
            axis, convolves = int(name == "up"), name != "linear"
            first = layer.weight.detach().transpose(0, axis)
            steps = first.flatten(1).abs().amax(1) / 63
            shape = [1] * axis + [-1] + [1] * (first.ndim - axis - 1)
            layer.weight.data = (layer.weight / steps.view(shape)).round().detach() * steps.view(shape)
            offset = torch.tensor([-0.15]) if name == "up" else None
            inputs = InputQuantizer(torch.tensor([step]), 8, axes_behind=2 * convolves, offset=offset)
            setattr(self, name, quantized(layer, inputs, steps, 8))
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.conv(x), self.up(x), self.linear(x)


@pytest.mark.parametrize("style", ["onnxruntime", "openvino"])
def test_integers_in_a_graph_are_those_of_the_simulation(style, tmp_path):
    simulation, path, names = Layers(), tmp_path / "layers.onnx", ["conv", "up", "linear"]
    write_onnx(with_integers(simulation, style), [torch.zeros(1, 3, 4, 4)], path, ["x"], names, {})
    in_integers = [node.op_type for node in onnx.load(path).graph.node].count("QuantizeLinear")
    assert in_integers == (3 if style == "openvino" else 1)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    if style == "openvino":
        openvino = pytest.importorskip("openvino")
        model = openvino.compile_model(openvino.convert_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = [torch.from_numpy(out) for out in model(x.numpy()).values()]
    else:  # convolutions take floats there
        found = run_onnx(path, x=x)
        simulation.conv.inputs = simulation.up.inputs = nn.Identity()
    for name, out, expected in zip(names, found, simulation(x), strict=True):
        assert sqnr(out, expected) > 100, name


@pytest.mark.slow
def test_int8_runs_the_simulation(sam, pictures, tmp_path):
    openvino = pytest.importorskip("openvino")
    made = export_model(
        sam,
        tmp_path / "int8",
        "openvino",
        precision="int8",
        image_size=64,
        images=pictures,
        quantization=dataclasses.replace(QUICK, image_size=64),
        force=True,
    )
    figures = made.figures
    in_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # what is no integer
    assert figures.simulation_sqnr > (25 if in_bfloat16 else 100)  # a wrong step anywhere gives far less
    assert figures.simulation_agreement > 0.95  # the decoder computes in float
    assert figures.embedding_sqnr > 25
    assert sum(figures.bytes.values()) < 0.75 * sum(figures.float_bytes.values())
    assert {"encoder", "decoder"} == set(figures.float_latency_s)
    assert sum(layer["weights"] == 7 for layer in made.layers) > 40
    exported = samlet.load(tmp_path / "int8")
    assert exported.manifest.precision == "int8"
    assert exported.manifest.image_sizes == (64,)


def test_the_gate_refuses_and_writes_nothing(float_folder, sam, pictures, tmp_path, monkeypatch):
    from samlet.export import onnx_graphs

    def broken(_, folder, *__, **___):
        """The model's own graphs, but the largest weight has another sign."""
        for part in ("encoder", "decoder"):
            model = onnx.load(float_folder[0] / f"{part}.onnx")
            entry = max(model.graph.initializer, key=lambda one: np.prod(one.dims) * (one.data_type == 1))
            entry.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(entry), entry.name))
            onnx.save(model, folder / f"{part}.onnx")
        return {part: f"{part}.onnx" for part in ("encoder", "decoder")}

    monkeypatch.setattr(onnx_graphs, "write", broken)
    with pytest.raises(SamletError, match=r"mask IoU with the source model is 0\.\d+; expected at least 0\.99"):
        export_model(sam, tmp_path / "out", "onnx", images=pictures)
    assert not list(tmp_path.iterdir())
    made = export_model(sam, tmp_path / "out", "onnx", images=pictures, force=True)
    assert made.figures.agreement < 0.9
    assert len(made.refused) == 1
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
        ({"to": "onnx", "precision": "bfloat16"}, "bfloat16 needs openvino"),
        ({"to": "executorch", "full_masks": True}, "full-size masks"),
        ({"to": "onnx", "prompts": 0}, "prompts is 0"),
        ({"to": "onnx", "least_agreement": 2}, "least_agreement is 2"),
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
    from samlet.export import machine

    monkeypatch.setattr(machine, "has_vnni", lambda: False)
    assert "no VNNI" in machine.remarks(ExportConfig(to="onnx", precision="int8"))[0]
    assert not machine.remarks(ExportConfig(to="onnx"))


def test_hf_and_segment_anything(pictures, tmp_path):
    pytest.importorskip("transformers")
    config = ViTConfig(image_size=64, embed_dim=24, num_heads=(2, 2), qk_dims=(12, 12), v_dims=(12, 12),
                       mlp_dims=(48, 48), scale_dim=12, window_size=2, global_blocks=(1,),
                       out_channels=CHANNELS)  # fmt: skip
    regular = randomised(config, DecoderConfig())
    made = export_model(regular, tmp_path / "hf", "hf", images=pictures)
    assert made.figures.agreement == 1
    made = export_model(regular, tmp_path / "sa", "segment-anything", images=pictures)
    assert made.figures.agreement == 1
    assert set(made.files) == {"model.pth"}
    thin = dataclasses.replace(config, scale_dim=24)  # heads half as wide as they were, as uniform slimming leaves them
    slimmed = randomised(thin, DecoderConfig())
    assert export_model(slimmed, tmp_path / "thin", "hf", images=pictures).figures.agreement > 0.9999
    with pytest.raises(InputError, match="--selection uniform"):
        export_model(make_vit(), tmp_path / "irregular", "hf", images=pictures)


def test_the_command_asks_for_photographs(float_folder, tmp_path, capsys):
    model = str(float_folder[0].parent / "model")
    assert main(["export", model, "--to", "onnx", "--out", str(tmp_path / "int8"), "--int8"]) == 2
    assert "--images" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_passes_every_setting_on(float_folder, tmp_path, monkeypatch):
    """None of the options of `samlet export` is parsed and then forgotten."""
    from samlet.cli import export
    from samlet.export.config import ExportConfig
    from samlet.settings import settings_of

    given: dict[str, object] = {}

    def noted(*_: object, **settings: object) -> None:
        given.update(settings)
        raise InputError("noted")

    monkeypatch.setattr(export, "export_model", noted)
    model = str(float_folder[0].parent / "model")
    words = ["export", model, "--to", "onnx", "--out", str(tmp_path / "a"), "--for-device", "other", "--force"]
    assert main(words) == 2
    assert (given["for_device"], given["force"]) == ("other", True)
    assert {field.name for field, known in settings_of(ExportConfig) if known.option != ""} <= given.keys()


def test_constants_are_stored_once(float_folder):
    graph = onnx.load(float_folder[0] / "encoder.onnx").graph
    seen = [
        (entry.data_type, tuple(entry.dims), onnx.numpy_helper.to_array(entry).tobytes()) for entry in graph.initializer
    ]
    assert len(seen) == len(set(seen))
    assert not any(node.metadata_props for node in graph.node)


@torch.no_grad()
def test_half_precision_stays_close(sam):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert 40 < sqnr(in_half(EncoderGraph(sam))(images)[0], sam.encode(images)) < 90
    embedding, mask = sam.encode(images[:1]), torch.zeros(1, 1, 16, 16)
    inputs = (embedding, *prompts(3, 2, 64), mask, torch.zeros(1))
    for found, expected in zip(in_half(DecoderGraph(sam))(*inputs), DecoderGraph(sam)(*inputs), strict=True):
        assert found.dtype == torch.float32
        assert 40 < sqnr(found, expected) < 90


def test_for_another_machine_nothing_is_timed(sam, pictures, tmp_path, monkeypatch):
    from samlet.export import graph_files

    monkeypatch.setattr(graph_files, "time_parts", lambda *_: pytest.fail("timed"))
    made = export_model(
        sam,
        tmp_path / "int8",
        "onnx",
        precision="int8",
        images=pictures,
        quantization=QUICK,
        for_device="other",
        least_agreement=0,
    )
    assert made.figures.latency_s is None
    assert sum(made.figures.bytes.values()) < sum(made.figures.float_bytes.values())
    written = json.loads((tmp_path / "int8" / "export.json").read_text())
    assert written["provenance"]["settings"]["for_device"] == "other"
    assert "nothing was timed" in made.notes[0]
    assert not (tmp_path / "int8-search").exists()


def test_a_refused_export_goes_on_after_its_search(sam, pictures, tmp_path, monkeypatch, capsys):
    from samlet.export import machine
    from samlet.quantization import pipeline as quantization

    monkeypatch.setattr(machine, "has_vnni", lambda: False)
    settings = {"precision": "int8", "images": pictures, "quantization": QUICK, "least_agreement": 1.0}
    with pytest.raises(SamletError, match=r"refused.*int8-search keeps the search"):
        export_model(sam, tmp_path / "int8", "onnx", **settings)
    assert "this CPU has no VNNI instructions, so int8 may be no faster" in capsys.readouterr().err
    monkeypatch.setattr(quantization, "search_layer", lambda *_: pytest.fail("searched again"))
    made = export_model(sam, tmp_path / "int8", "onnx", **{**settings, "least_agreement": 0, "for_device": "other"})
    assert made.figures.agreement > 0


def test_bfloat16_that_the_runtime_would_not_compute_is_refused(sam, tmp_path, monkeypatch):
    from samlet.export import machine

    monkeypatch.setattr(machine, "has_bf16", lambda: False)
    with pytest.raises(InputError, match="it would compute in float32 and show nothing of bfloat16"):
        export_model(sam, tmp_path / "bf16", "openvino", precision="bfloat16")


def test_every_option_of_the_command_reaches_the_export(sam, pictures, tmp_path):
    samlet.save(sam, tmp_path / "model")
    given = {
        "--image-size": ("image_size", 64),
        "--least-agreement": ("least_agreement", 0.5),
        "--for-device": ("for_device", "other"),
        "--prompts": ("prompts", 3),
        "--points": ("points", 2),
        "--seed": ("seed", 5),
    }
    switches = {"--force": "force", "--full-masks": "full_masks"}
    words = [word for option, (_, value) in given.items() for word in (option, str(value))]
    line = ["export", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--images", str(pictures), *words]
    main([*line, *switches, "--json"])
    settings = json.loads((tmp_path / "out" / "export.json").read_text())["provenance"]["settings"]
    assert {name: settings[name] for name, _ in given.values()} == dict(given.values())
    assert all(settings[name] for name in switches.values())
