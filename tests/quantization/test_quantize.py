"""Whole runs: small models at once, resumed, refused; and MobileSAM where its weights are at hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import samlet
from samlet.checkpoints import load_checkpoint, native, quantized
from samlet.cli import main
from samlet.data.images import find_images, read_image
from samlet.data.masks import bounding_box
from samlet.evaluation.costs import cost
from samlet.export.int8_layers import with_integers
from samlet.models.quantized import (
    InputQuantizer,
    LogQuantizer,
    ProbabilityQuantizer,
    QuantizedAttention,
    QuantizedConv2d,
    QuantizedConvTranspose2d,
    QuantizedLinear,
    QuantizedProduct,
    along,
    is_quantized,
    out_axis,
)
from samlet.quantization import pipeline as procedure_module
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.runs.folder import RunFolder
from tests.conftest import CHANNELS, PHOTOS, make_tiny, make_vit

QUICK = {"calibration_images": 2, "prompts": 4, "candidates": 8, "low": 0.5, "rounds": 1, "samples": 16}
FEW = {"keep_float": ("mask_decoder.transformer.*", "mask_decoder.*mlps*", "*iou_prediction_head*")}


def quick(**settings):
    return QuantConfig(**{**QUICK, **settings})


def encoded(sam, seed=0):
    with torch.no_grad():
        return sam.encode(torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(seed)))


def distance(sam, other):
    return float((encoded(sam) - encoded(other)).square().mean() / encoded(other).square().mean())


def photographs(folder):
    return sorted(folder.iterdir())


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_fewer_bits_are_further_away(small_sam, photo_folder):
    distances = [
        distance(
            samlet.quantize(small_sam, photo_folder, weights=bits, activations=bits, metric="mse", **FEW, **QUICK),
            small_sam,
        )
        for bits in (8, 6, 4)
    ]
    assert distances[0] < distances[1] / 3 < distances[2] / 21
    assert distances[0] < 0.01
    assert not is_quantized(small_sam)


def test_every_layer_is_quantized_the_same_each_time_and_survives_saving(small_sam, photo_folder, tmp_path):
    before = small_sam.fingerprint()
    made = run_quantization(small_sam, photographs(photo_folder), quick(candidates=4), progress=False)
    again = run_quantization(small_sam, photographs(photo_folder), quick(candidates=4), progress=False)
    assert same(made.sam, again.sam)
    assert small_sam.fingerprint() == before
    assert all(layer.float_reason is None for layer in made.layers)
    kinds = {type(module) for module in made.sam.modules()}
    assert {QuantizedAttention, QuantizedProduct} <= kinds
    assert not kinds & {nn.Linear, nn.Conv2d, nn.ConvTranspose2d}
    assert made.average_bits == pytest.approx(8)

    samlet.save(made.sam, tmp_path / "m")
    back = load_checkpoint(tmp_path / "m")
    assert back.fingerprint() == made.sam.fingerprint()
    assert torch.equal(encoded(back), encoded(made.sam))
    assert quantized.describe(back) == quantized.describe(made.sam)
    samlet.save(back, tmp_path / "n")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()
    samlet.save(small_sam, tmp_path / "float")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("m", "float")]
    assert sizes[0] < 0.6 * sizes[1]  # names and vectors weigh much in so small a model
    with pytest.raises(samlet.InputError, match="quantized already"):
        samlet.quantize(back, photo_folder, **QUICK)


def test_chunks_and_log_levels_survive_saving(photo_folder, tmp_path):
    sam = make_tiny()
    config = quick(weights=4, weight_group=24, scheme="log", metric="mse", candidates=4, **FEW)
    made = run_quantization(sam, photographs(photo_folder), config, progress=False)
    kinds = {type(module) for module in made.sam.modules()}
    assert LogQuantizer in kinds
    assert ProbabilityQuantizer not in kinds
    grouped = {name: m for name, m in made.sam.named_modules() if getattr(m, "weight_group", None)}
    assert {type(m) for m in grouped.values()} >= {QuantizedLinear, QuantizedConv2d, QuantizedConvTranspose2d}
    for name, layer in grouped.items():
        axis = out_axis(layer)
        outputs, inputs = layer.weight.shape[axis], layer.weight.shape[1 - axis]
        assert layer.weight_scale.shape == (outputs, math.ceil(inputs / 24)), name
        levels = layer.weight / along(layer.weight_scale, layer.weight, axis, 24)
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert -8 <= float(levels.detach().min()) <= float(levels.detach().max()) <= 7.001
    assert any(m.weight_group is None for m in made.sam.modules() if isinstance(m, QuantizedConv2d)), (
        "few inputs need one scale"
    )

    samlet.save(made.sam, tmp_path / "m")
    back = load_checkpoint(tmp_path / "m")
    assert same(back, made.sam)
    assert quantized.describe(back) == quantized.describe(made.sam)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["quantization"][NECK]["group"] == 24
    torch.save(encoded(made.sam), tmp_path / "embedding.pt")
    code = (
        "import sys, torch; from pathlib import Path; from samlet.checkpoints import load_checkpoint\n"
        "sam = load_checkpoint(Path(sys.argv[1]) / 'm')\n"
        "x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "with torch.no_grad(): out = sam.encode(x)\n"
        "sys.exit(0 if torch.equal(out, torch.load(Path(sys.argv[1]) / 'embedding.pt')) else 'embeddings differ')"
    )
    threads = str(torch.get_num_threads())
    done = subprocess.run([sys.executable, "-c", code, tmp_path, threads], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    with pytest.raises(
        samlet.InputError, match="scales for every 24 inputs; integer kernels take one an output channel"
    ):
        with_integers(made.sam.get_submodule("image_encoder.neck"), "openvino")


def test_scheme_integer(small_sam, photo_folder, tmp_path):
    made = run_quantization(small_sam, photographs(photo_folder), quick(scheme="integer", metric="mse"), progress=False)
    offsets = 0
    for name, module in made.sam.named_modules():
        assert not isinstance(module, QuantizedAttention | QuantizedProduct)
        if isinstance(module, InputQuantizer):
            assert module.negative_scale is None, name
            if module.offset is not None:
                offsets += 1
                whole = (module.offset / module.scale).round()
                assert torch.equal(whole * module.scale, module.offset)
                assert -128 <= -float(whole) <= 127
        if getattr(module, "weight_scale", None) is not None:
            shape = [-1 if n == len(module.weight_scale) else 1 for n in module.weight.shape]
            if shape.count(-1) == 1:
                assert (module.weight / module.weight_scale.view(shape)).round().abs().max() <= 127
    assert offsets > 5
    reasons = {layer.float_reason for layer in made.layers if layer.kind in ("attention", "product")}
    assert reasons == {"products stay float in scheme integer"}
    samlet.save(made.sam, tmp_path / "m")
    assert same(load_checkpoint(tmp_path / "m"), made.sam)
    assert distance(made.sam, small_sam) < 0.01


def test_some_layers_stay_float(small_sam, photo_folder):
    config = quick(metric="minmax", keep_float=("mask_decoder.*", "*neck.0"))
    made = run_quantization(small_sam, photographs(photo_folder), config, progress=False)
    for layer in made.layers:
        kept = layer.name.startswith("mask_decoder.") or layer.name.endswith("neck.0")
        assert (layer.float_reason is not None) == kept
    assert type(made.sam.get_submodule("image_encoder.neck.0")) is nn.Conv2d
    with pytest.raises(samlet.InputError, match=r"'decoder\.\*' fits no layer; layers are named such as image_encoder"):
        samlet.quantize(small_sam, photo_folder, keep_float=("decoder.*",), **QUICK)
    with pytest.raises(samlet.InputError, match="no layer would be quantized"):
        samlet.quantize(small_sam, photo_folder, keep_float=("*",), **QUICK)


@pytest.mark.parametrize(("weights", "activations"), [(16, 8), (4, 16)])
def test_weights_or_activations_alone(photo_folder, tmp_path, weights, activations):
    sam = make_tiny()
    made = run_quantization(
        sam,
        photographs(photo_folder),
        quick(weights=weights, activations=activations, metric="mse", **FEW),
        progress=False,
    )
    layer = made.sam.get_submodule("image_encoder.neck.0")
    assert (layer.weight_scale is None) == (weights == 16)
    assert isinstance(layer.inputs, InputQuantizer) == (activations == 8)
    samlet.save(made.sam, tmp_path / "m")
    back = load_checkpoint(tmp_path / "m")
    assert same(back, made.sam)
    assert quantized.describe(back) == quantized.describe(made.sam)


def test_mixed_precision_keeps_its_budget_and_scales_are_shared(photo_folder, tmp_path, monkeypatch):
    sam = make_vit()

    def made_with(**settings):
        config = quick(metric="mse", **settings, **FEW)
        return run_quantization(sam, photographs(photo_folder), config, progress=False, scales=tmp_path)

    made = {budget: made_with(mixed=budget) for budget in (4, 5.5)}
    monkeypatch.setattr(procedure_module, "_search_site", None)
    assert same(made_with(weights=4, activations=4).sam, made[4].sam)
    assert {layer.inputs for layer in made[4].layers} == {4, None}
    assert len({layer.inputs for layer in made[5.5].layers}) > 2
    assert 5 < made[5.5].average_bits <= 5.5
    assert all(layer.weights in (layer.inputs, None) for layer in made[5.5].layers)
    assert distance(made[4].sam, sam) > distance(made[5.5].sam, sam)


class StopError(Exception):
    pass


@pytest.mark.parametrize("where", ["calibration", "search"])
def test_an_interrupted_run_continues(photo_folder, tmp_path, monkeypatch, where):
    sam, paths, config = make_tiny(), photographs(photo_folder), quick(**FEW)
    other = quick(weights=6, **FEW)
    whole = run_quantization(sam, paths, config, progress=False)
    workspace = RunFolder(tmp_path / "out")
    name = "preprocess" if where == "calibration" else "_search_site"
    inner, calls = getattr(procedure_module, name), []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise StopError
        return inner(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(procedure_module, name, counted)
        with pytest.raises(StopError):
            run_quantization(sam, paths, config, workspace, progress=False)
    with pytest.raises(samlet.InputError, match=r"run with other settings .*weights 8 there, 6 here"):
        run_quantization(sam, paths, other, workspace, progress=False)
    done = []
    with monkeypatch.context() as patched:
        patched.setattr(procedure_module, name, lambda *args, **kwargs: (done.append(1), inner(*args, **kwargs))[1])
        again = run_quantization(sam, paths, config, workspace, progress=False)
    everything = (
        config.calibration_images
        if where == "calibration"
        else sum(layer.float_reason is None for layer in whole.layers)
    )
    assert len(done) == everything - 1
    assert same(again.sam, whole.sam)
    assert again.layers == whole.layers


def test_photographs_that_cannot_be_read_are_named(photo_folder):
    paths = photographs(photo_folder)
    for path in paths[:3]:
        path.write_bytes(b"no image")
    made = run_quantization(make_tiny(), paths, quick(calibration_images=3, metric="minmax"), progress=False)
    assert len(made.photographs) == 3
    assert set(made.skipped) <= set(paths[:3])
    with pytest.raises(
        samlet.InputError, match=r"3 photographs are there to calibrate on; 3 cannot be read.*expected 4"
    ):
        run_quantization(make_tiny(), paths, quick(calibration_images=4), progress=False)


def test_models_that_cannot_be_quantized(photo_folder):
    sam = make_tiny()
    sam.image_encoder.neck[0].weight.data[0, 0] = float("nan")
    with pytest.raises(samlet.InputError, match=r"image_encoder\.neck\.0\.weight holds NaN"):
        samlet.quantize(sam, photo_folder, **QUICK)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": 9}, "weights is 9 bits; expected 2 to 8, or 16"),
        ({"activations": 1}, "activations is 1 bits"),
        ({"weights": 16, "activations": 16}, "quantizes nothing"),
        ({"metric": "hessien"}, "metric 'hessien' is unknown; expected one of hessian, mse"),
        ({"scheme": "int"}, "scheme 'int' is unknown; expected one of twin, log, integer"),
        ({"weight_group": 0}, "weight_group is 0; expected 1 to"),
        (
            {"weight_group": 64, "scheme": "integer"},
            "weight_group is 64 in scheme integer, whose kernels",
        ),
        ({"weight_group": 64, "weights": 16}, "weight_group is 64, but weights stay float"),
        ({"shrinkage": -1.0}, "shrinkage is -1; expected at least 0"),
        ({"mixed": 3}, "mixed is 3; expected 4 to 8"),
        ({"calibration_images": 0}, "calibration_images is 0; expected 1 to"),
        ({"prompts": 1}, "prompts is 1; expected 2 to"),
        ({"candidates": 1}, "candidates is 1"),
        ({"rounds": 0}, "rounds is 0"),
        ({"samples": 7}, "samples is 7; expected 8 to"),
        ({"low": 0.0}, "low 0 and high 1.2 span no range"),
        ({"low": 1.5}, "low 1.5 and high 1.2"),
        ({"seed": -1}, "seed is -1"),
        ({"keep_float": "mask_decoder.*"}, "expected a tuple of patterns"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(samlet.InputError, match=message):
        QuantConfig(**settings)


def test_the_command_line(photo_folder, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "float")
    out = tmp_path / "small"
    command = ["quantize", str(tmp_path / "float"), "--images", str(photo_folder), "--out", str(out), "--json"]
    command += ["--calibration-images", "2", "--prompts", "4", "--candidates", "8", "--weights", "6", "--threads", "1"]
    command += ["--metric", "mse", "--rounds", "1", "--scheme", "log", "--weight-group", "24"]
    assert main([*command, "--keep-float", "*neck.0", "mask_decoder.mask_product"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "the search is over; measuring the agreement of masks" in captured.err
    assert 0 < found["agreement"]["single"] <= 1
    assert (found["agreement"]["images"], found["agreement"]["calibrated_on"]) == (4, False)
    assert "4 photographs not calibrated on" in (out / "report.md").read_text()
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert layers["image_encoder.neck.2"]["bits"] == {"weights": 6, "inputs": 8}
    assert layers["image_encoder.neck.0"]["float_reason"] == "kept float by *neck.0"
    assert layers["image_encoder.neck.2"]["error"] > 0
    assert found["seconds"] > 0
    names = {"config.json", "model.safetensors", "provenance.json", "report.md", "errors.png", "comparison.png", "run"}
    assert {path.name for path in out.iterdir()} == names
    assert not (out / "run" / "checkpoints").exists()
    provenance = json.loads((out / "provenance.json").read_text())
    assert [provenance["recipe"][name] for name in ("weights", "scheme", "weight_group")] == [6, "log", 24]
    assert "scales of weights for every 24 input channels" in (out / "report.md").read_text()
    assert json.loads((out / "config.json").read_text())["quantization"]["image_encoder.neck.2"]["group"] == 24
    assert provenance["parents"][0]["weights_sha256"] == load_checkpoint(tmp_path / "float").fingerprint()
    assert "image_encoder.neck.2" in (out / "report.md").read_text()
    Image.open(out / "errors.png").load()
    assert is_quantized(load_checkpoint(out))

    assert main([*command]) == 2
    assert "already holds" in capsys.readouterr().err
    picture = str(photographs(photo_folder)[0])
    assert (
        main(["segment", picture, "--model", str(out), "--point", "30,30", "--out", str(tmp_path / "s"), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["masks"]
    evaluate = ["evaluate", str(out), "--data", str(photo_folder), "--reference", str(tmp_path / "float"), "--json"]
    assert main([*evaluate, "--limit", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["miou"]["single"] > 0.3
    assert main(["cost", str(out), "--json", "--image-size", "128", "--no-measure"]) == 0
    assert json.loads(capsys.readouterr().out)["macs_total"] == cost(make_tiny(), 128, measure=False).macs_total
    assert main([command[0], str(out), *command[2:5], str(tmp_path / "twice"), *command[6:]]) == 2
    assert "quantized already" in capsys.readouterr().err


def malformed(change):
    def apply(folder):
        content = json.loads((folder / "config.json").read_text())
        content["quantization"] = change(content["quantization"])
        (folder / "config.json").write_text(json.dumps(content))

    return apply


NECK = "image_encoder.neck.0"
PRODUCTS = "image_encoder.layers.1.blocks.0.attn.products"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], r"quantization is \[\]; expected an object"),
        (lambda q: q | {"neck": {}}, "quantization names the layer 'neck'; expected a layer of the model"),
        (lambda q: q | {"image_encoder": {}}, "a TinyViTEncoder; expected a float layer"),
        (lambda q: q | {NECK: {"weights": 8}}, f"quantization of {NECK} has weights; expected weights, inputs"),
        (lambda q: q | {NECK: 8}, "has a int; expected weights, inputs"),
        (lambda q: q | {NECK: {"weights": 8, "inputs": 1}}, "has 1 bits of inputs; expected 2 to 32, or null"),
        (lambda q: q | {NECK: {"weights": "8", "inputs": 8}}, "has '8' bits of weights"),
        (lambda q: q | {NECK: {"weights": 8, "inputs": 8, "group": 0}}, "has groups of 0 and 8 bits"),
        (lambda q: q | {NECK: {"weights": None, "inputs": 8, "group": 8}}, "has groups of 8 and None bits"),
        (lambda q: q | {NECK: {"weights": 8, "inputs": 8, "group": 8}}, r"of shape \(\d+,\); expected float numbers"),
        (lambda q: q | {NECK: {"weights": True, "inputs": 8}}, "has True bits"),
        (lambda q: q | {PRODUCTS: {"left": 8, "right": 8}}, "expected queries, keys, probabilities, values"),
        (
            lambda q: {k: v for k, v in q.items() if k != NECK},
            f"{NECK}.weight is torch.int8 and no layer of quantization",
        ),
        (lambda q: q | {NECK: {"weights": 8, "inputs": None}}, f"1 surplus \\({NECK}.inputs.scale\\)"),
        (lambda q: q | {f"{NECK}.inputs": {}}, "a InputQuantizer; expected a float layer"),
    ],
)
def test_malformed_configs(saved, change, message):
    malformed(change)(saved)
    with pytest.raises(samlet.CheckpointError, match=message):
        load_checkpoint(saved)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(folder / f"{i}.png")
    return run_quantization(make_tiny(), photographs(folder), quick(metric="minmax"), progress=False).sam


@pytest.fixture
def saved(small, tmp_path):
    native.write(small, tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"{NECK}.inputs.scale", None, f"there is no {NECK}.inputs.scale; expected one"),
        (f"{NECK}.inputs.scale", torch.tensor([0.0]), "scale holds 0; expected finite scales above 0"),
        (f"{NECK}.inputs.scale", torch.tensor([float("nan")]), "scale holds nan"),
        (f"{NECK}.inputs.scale", torch.ones(7), "scale has 7 values for 40 channels; expected one"),
        (f"{NECK}.inputs.scale", torch.ones(1, 1), r"of shape \(1, 1\); expected float numbers along one axis"),
        (f"{NECK}.inputs.scale", torch.ones(1, dtype=torch.int8), "scale is torch.int8"),
        (f"{NECK}.inputs.offset", torch.ones(3), "offset has 3 values for 40 channels"),
        (f"{NECK}.inputs.offset", torch.tensor([float("inf")]), "offset holds inf; expected finite numbers"),
        (f"{NECK}.weight_scale", None, "with no scales; expected int8 with one scale an output channel"),
        (f"{NECK}.weight_scale", torch.ones(3), "with 3 scales"),
        (f"{NECK}.weight", torch.ones(CHANNELS, 40, 1, 1, dtype=torch.int16), "weight is torch.int16"),
        (f"{NECK}.weight", torch.ones(CHANNELS, 41, 1, 1, dtype=torch.int8), "1 of another shape"),
        (f"{PRODUCTS}.probabilities.split", torch.ones(2), "expected one float number"),
        (
            "image_encoder.neck.1.bias",
            torch.ones(CHANNELS, dtype=torch.int8),
            "no layer of quantization; expected a float",
        ),
    ],
)
def test_malformed_tensors(saved, name, value, message):
    from safetensors.torch import load_file, save_file

    tensors = load_file(saved / "model.safetensors")
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(samlet.CheckpointError, match=message):
        load_checkpoint(saved)


def test_weights_off_their_grid_are_stored_as_they_are(small, tmp_path):
    import copy

    changed = copy.deepcopy(small)
    layer = changed.get_submodule(NECK)
    layer.weight.data[0, 0] = 0.123456
    samlet.save(changed, tmp_path / "m")
    assert same(load_checkpoint(tmp_path / "m"), changed)


def test_formats_without_quantizers_refuse_it(small, tmp_path):
    for form in ("segment-anything", "mobile-sam", "hugging-face"):
        with pytest.raises(samlet.InputError, match=f"quantized layers, which format {form} cannot hold"):
            samlet.save(small, tmp_path / "m.pt", format=form)
    with pytest.raises(samlet.InputError, match="quantized layers, which storage as int8 cannot hold"):
        native.write_into(small, tmp_path, weights="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["twin", pytest.param("integer", marks=pytest.mark.slow)])
def test_mobile_sam_answers_almost_as_before(shared, scheme):
    path = shared / "weights" / "mobile_sam.safetensors"
    if not path.is_file():
        pytest.skip("weights of MobileSAM are not at hand")
    sam = samlet.load(str(path))
    config = QuantConfig(image_size=320, metric="mse", scheme=scheme, **{**QUICK, "samples": 32})
    paths = find_images(PHOTOS)
    made = run_quantization(sam, paths, config, progress=False).sam
    float_one, quantized_one = samlet.Predictor(sam, 320), samlet.Predictor(made, 320)
    overlaps = []
    for path in paths[:3]:
        height, width = read_image(path).shape[:2]
        for predictor in (float_one, quantized_one):
            predictor.set_image(path)
        masks = float_one.predict(points=[[[width * x, height / 2]] for x in (0.3, 0.5, 0.7)], multimask=False).masks
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (bounding_box(mask[0]) for mask in masks)]
        first, second = (one.predict(boxes=boxes, multimask=False).masks for one in (float_one, quantized_one))
        overlaps += list((first & second).sum((1, 2, 3)) / (first | second).sum((1, 2, 3)))
    assert np.mean(overlaps) > 0.95
