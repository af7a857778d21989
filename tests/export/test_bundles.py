"""Files for transformers.js and AnyLabeling: their graphs, asked as the programs ask, answer as the model does."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

import samlet
from samlet.cli import main
from samlet.errors import InputError
from samlet.export import anylabeling, bundles, transformers_js
from samlet.export.stored_weights import store_weights
from samlet.models import maps_of
from samlet.models.decoders import DECODERS
from tests.conftest import make_efficient, make_hiera, make_repvit, make_tiny, make_vit

MAKERS = {"vit": make_vit, "tiny_vit": make_tiny, "repvit": make_repvit, "hiera": make_hiera}


@pytest.fixture(params=list(MAKERS))
def sam(request):
    return MAKERS[request.param]()


@pytest.fixture
def pixels():
    return torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_the_layout_of_transformers_js_answers_as_the_model(sam, pixels):
    expected = sam.encode(pixels)
    found = transformers_js.VisionEncoder(sam)(pixels)
    fine = transformers_js.is_fine(sam)
    maps = found[::-1] if fine else found[:1]
    assert all(torch.equal(a, b) for a, b in zip(maps, maps_of(expected), strict=True))
    assert len(found) == len(transformers_js.encoder_outputs(sam))
    points = torch.tensor([[[30.0, 40], [90, 20]], [[64, 64], [0, 0]]])
    labels = torch.tensor([[1, 0], [1, -10]])
    boxes = torch.tensor([[10.0, 20, 100, 90], [5, 5, 60, 120]])
    decoder = (transformers_js.FinePromptDecoder if fine else transformers_js.PromptDecoder)(sam)
    none = [torch.zeros(1, 0, 4)] if fine else []
    iou, masks, *score = decoder(*found, points[None], labels[None], *none)
    assert masks.shape == (1, 2, 3, 32, 32)
    assert iou.shape == (1, 2, 3)
    for prompt, count in ((0, 2), (1, 1)):  # a padded prompt is answered as one without padding
        alone = sam.decode(expected, points[prompt : prompt + 1, :count], labels[prompt : prompt + 1, :count])
        torch.testing.assert_close(masks[:, prompt], alone.low_res[:, 1:], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(iou[:, prompt], alone.iou[:, 1:], rtol=1e-4, atol=1e-4)
        if fine:
            torch.testing.assert_close(score[0][0, prompt], alone.object_score, rtol=1e-4, atol=1e-4)
    if fine:
        given = torch.zeros(1, 1, 0, 2), torch.zeros(1, 2, 0, dtype=torch.long), boxes[None]
    else:
        given = boxes.view(1, 2, 2, 2), torch.tensor([[[2, 3], [2, 3]]])
    torch.testing.assert_close(
        decoder(*found, *given)[1][0], sam.decode(expected, boxes=boxes).low_res[:, 1:], rtol=1e-4, atol=1e-4
    )


@torch.inference_mode()
@pytest.mark.parametrize("clicks", [1, 2, 4])
def test_anylabeling_draws_one_mask_the_best_or_the_single_one(sam, pixels, clicks):
    expected = sam.encode(pixels)
    points = torch.tensor([[[30.0, 40], [90, 20], [64, 64], [100, 110]]])[:, :clicks]
    labels = torch.tensor([[1.0, 0, 1, 1]])[:, :clicks]
    answer = sam.decode(expected, points, labels.long())
    kind = DECODERS[sam.config.decoder.style]
    single = 0 if kind.single_is_first else int(kind.single(answer.low_res, answer.iou))
    wanted = 1 + int(answer.iou[0, 1:].argmax()) if clicks == 1 else single
    more = torch.zeros(1, 1, 32, 32), torch.zeros(1)
    if transformers_js.is_fine(sam):
        coarse, middle, finest = maps_of(expected)
        masks, iou = anylabeling.FineChoosingDecoder(sam)(coarse, finest, middle, points, labels, *more)
        torch.testing.assert_close(masks[0, 0], answer.low_res[0, wanted], rtol=1e-4, atol=1e-4)
    else:
        ended = torch.cat([points, torch.zeros(1, 1, 2)], 1), torch.cat([labels, -torch.ones(1, 1)], 1)
        size = torch.tensor([96.0, 128])
        masks, iou, low = anylabeling.ChoosingDecoder(sam)(maps_of(expected)[0], *ended, *more, size)
        assert masks.shape == (1, 1, 96, 128)
        torch.testing.assert_close(low[0, 0], answer.low_res[0, wanted], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou[0, 0], answer.iou[0, wanted], rtol=1e-4, atol=1e-4)


def test_a_box_is_ambiguous_and_a_box_with_a_click_is_not(pixels):
    sam = make_tiny()
    with torch.inference_mode():
        expected = sam.encode(pixels)
        box, click = torch.tensor([[[10.0, 20], [100, 90]]]), torch.tensor([[[50.0, 50]]])
        more = torch.zeros(1, 1, 32, 32), torch.zeros(1), torch.tensor([128.0, 128])
        decoder = anylabeling.ChoosingDecoder(sam)
        answer = sam.decode(expected, boxes=box.view(1, 4))
        found = decoder(maps_of(expected)[0], box, torch.tensor([[2.0, 3]]), *more)
        torch.testing.assert_close(found[2][0, 0], answer.low_res[0, 1 + int(answer.iou[0, 1:].argmax())])
        answer = sam.decode(expected, click, torch.ones(1, 1).long(), box.view(1, 4))
        found = decoder(maps_of(expected)[0], torch.cat([click, box], 1), torch.tensor([[1.0, 2, 3]]), *more)
        torch.testing.assert_close(found[2][0, 0], answer.low_res[0, 0], rtol=1e-4, atol=1e-4)


def test_weights_of_products_alone_are_rounded(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weights = {
        "product": generator.normal(size=(40, 40)),
        "sum": generator.normal(size=(40, 40)),
        "kernel": generator.normal(size=(16, 8, 3, 3)),
        "little": generator.normal(size=(4, 4)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "product"], ["a"]),
        helper.make_node("Add", ["a", "sum"], ["out"]),
        helper.make_node("Conv", ["image", "kernel"], ["picture"]),
        helper.make_node("MatMul", ["y", "little"], ["small"]),
    ]
    shapes = {"x": [40, 40], "image": [1, 8, 9, 9], "y": [4, 4]}
    outs = {"out": [40, 40], "picture": [1, 16, 7, 7], "small": [4, 4]}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outs.items()],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, str(tmp_path / "a.onnx"))
    shutil.copyfile(tmp_path / "a.onnx", tmp_path / "b.onnx")
    store_weights(tmp_path / "b.onnx", "int8")
    names = {entry.name for entry in onnx.load(str(tmp_path / "b.onnx")).graph.initializer}
    assert names == {"product.stored", "product.scale", "kernel.stored", "kernel.scale", "sum", "little"}
    given = {name: torch.from_numpy(generator.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    before, after = (bundles.session(tmp_path / name)(given) for name in ("a.onnx", "b.onnx"))
    for a, b in zip(before, after, strict=True):
        assert float((a - b).abs().max()) < 0.03 * float(a.abs().max())
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("to", ["transformers.js", "anylabeling"])
def test_models_without_a_place_are_refused_before_anything_is_written(to, tmp_path, capsys):
    samlet.save(make_efficient(), tmp_path / "efficient")
    samlet.save(make_tiny(), tmp_path / "tiny")
    out = ["--to", to, "--out", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "efficient"), *out]) == 2
    assert "efficient_sam's, which samlet cannot export" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "tiny"), *out, "--fp16"]) == 2
    assert "written in float32" in capsys.readouterr().err
    if to == "anylabeling":
        assert main(["export", str(tmp_path / "tiny"), *out]) == 2
        assert "1024 pixels a side, and 128" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    sam = make_hiera()
    if to == "anylabeling":
        sam.config = type(sam.config)(
            encoder=sam.config.encoder, decoder=sam.config.decoder, resize="stretch", pixel_mean=(0.0, 0.0, 0.0)
        )
        with pytest.raises(InputError, match="normalises photographs"):
            anylabeling.check(sam, 128)


def test_a_variant_that_falls_short_is_refused():
    made = bundles.Variant(precision="int8", agreement=0.96, worst=0.1, prompts=3, bytes=10, limit=0.97)
    assert bundles.refusals([made]) == [f"{made}; expected at least 0.97"]
    assert bundles.refusals([bundles.Variant(**{**vars(made), "agreement": float("nan")})])
    assert not bundles.refusals([bundles.Variant(**{**vars(made), "agreement": 0.98})])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_vit", pytest.param("hiera", marks=pytest.mark.long)])
def test_anylabeling_gets_a_zip_that_answers_as_the_model(name, tmp_path, capsys):
    samlet.save(MAKERS[name](), tmp_path / "m")
    size = ["--image-size", "1024"] if name == "tiny_vit" else []
    out = tmp_path / "out"
    command = ["export", str(tmp_path / "m"), "--to", "anylabeling", *size, "--out", str(out), "--json"]
    assert main(command) == 0
    (variant,) = json.loads(capsys.readouterr().out)["variants"]
    assert variant["agreement"] > 0.999
    with zipfile.ZipFile(out / "model.zip") as made:
        others = set() if name == "tiny_vit" else {"anylabeling.yaml"}
        assert set(made.namelist()) == {"config.yaml", "encoder.onnx", "decoder.onnx", *others}
        configs = [
            dict(line.split(": ", 1) for line in made.read(file).decode().splitlines())
            for file in ("config.yaml", *others)
        ]
    config = configs[0]
    assert json.loads(config["type"]) == ("segment_anything" if name == "tiny_vit" else "segment_anything_2")
    for other in configs[1:]:  # AnyLabeling has one type for both
        assert other == {**config, "type": '"segment_anything"'}
    assert {"name", "display_name", "encoder_model_path", "decoder_model_path", "input_size"} <= set(config)
