"""An exported model answers as the `Sam` it was made from, whatever runs it."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import samlet
from samlet.data.masks import decode_rle
from samlet.models import DecoderOutput, PromptableModel, Sam
from samlet.models.decoders.full import FullMaskDecoder, prompt_decoder
from samlet.runtimes import ExportedSam
from samlet.runtimes.prompts import Clicks
from tests.conftest import PHOTOS
from tests.runtimes.exporting import FIXED, FIXED_POINTS, FIXED_PROMPTS, SIDE, describe, fix_shapes, write_description

POINTS = torch.tensor([[[20.0, 30.0], [90.5, 100.0]], [[5.0, 5.0], [0.0, 0.0]], [[64.0, 40.0], [1.0, 127.0]]] * 4)
LABELS = torch.tensor([[1, 0], [1, -2], [0, 1]] * 4)
BOXES = torch.tensor([[10.0, 10.0, 60.0, 90.0]] * 12) + torch.arange(12.0)[:, None]
PROMPTS = {
    "points": (12, "points"),
    "boxes": (12, "boxes"),
    "points in boxes": (12, "points boxes"),
    "points and masks": (12, "points masks"),
    "masks alone": (2, "masks"),
    "one of all": (1, "points boxes masks"),
    "none": (0, ""),
}


def image(size=SIDE, count=1):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(size))


def prompts(name, size=SIDE):
    count, kinds = PROMPTS[name]
    masks = torch.randn(12, 1, size // 4, size // 4, generator=torch.Generator().manual_seed(1))
    given = {"points": POINTS, "labels": LABELS, "boxes": BOXES, "masks": masks}
    chosen = kinds.split() + ["labels"] * ("points" in kinds)
    return {kind: given[kind][:count] for kind in chosen}


def assert_alike(found: DecoderOutput, expected: DecoderOutput):
    assert found.low_res.shape == expected.low_res.shape
    assert torch.allclose(found.low_res, expected.low_res, atol=1e-4)
    assert torch.allclose(found.iou, expected.iou, atol=1e-4)
    assert found.low_res.dtype == found.iou.dtype == torch.float32


def test_it_is_a_model_like_any_other(folder, sam):
    exported = samlet.load(folder)
    assert isinstance(exported, ExportedSam)
    assert isinstance(exported, PromptableModel)
    assert isinstance(sam, PromptableModel)
    assert exported.config == sam.config
    assert exported.image_size == exported.check_image_size(None) == SIDE
    assert exported.check_image_size(64) == 64
    assert exported.has_single_mask
    assert (exported.device, exported.dtype) == (torch.device("cpu"), torch.float32)
    for a, b in zip(exported.preprocessing[:2], sam.preprocessing[:2], strict=True):
        assert torch.equal(a, b)
    assert exported.preprocessing[2] == sam.preprocessing[2] == "longest_side"
    assert exported.eval() is exported.to("cpu") is exported
    assert isinstance(prompt_decoder(exported, torch.zeros(1, 32, 8, 8)), FullMaskDecoder)
    with pytest.raises(samlet.InputError, match="multiple of 16"):
        exported.check_image_size(100)
    with pytest.raises(samlet.InputError, match="runs on the CPU; use cpu"):
        exported.to(torch.device("meta"))


@pytest.mark.parametrize("size", [SIDE, 96])
def test_encoder_and_decoder_at_any_size(folder, sam, size):
    exported = samlet.load(folder)
    expected = sam.encode(image(size, 2))
    assert torch.allclose(exported.encode(image(size, 2)), expected, atol=1e-4)
    for name in PROMPTS:
        assert_alike(
            exported.decode(expected[:1], **prompts(name, size)), sam.decode(expected[:1], **prompts(name, size))
        )
    clicks = {"points": POINTS[:2], "labels": LABELS[:2]}
    assert_alike(exported.decode(expected, **clicks), sam.decode(expected, **clicks))


def test_padding_changes_no_answer(folder):
    exported = samlet.load(folder)
    embedding = exported.encode(image())
    padded = torch.cat([POINTS, torch.full_like(POINTS, 7.0)], dim=1), torch.cat([LABELS, LABELS * 0 - 2], dim=1)
    assert_alike(exported.decode(embedding, *padded), exported.decode(embedding, POINTS, LABELS))


@pytest.mark.parametrize("masks", [1, FIXED_PROMPTS])
def test_fixed_shapes_are_filled_up_and_cut(fixed_folder, onnx_folder, sam, tmp_path, masks):
    if masks > 1:
        shutil.copytree(fixed_folder, tmp_path, dirs_exist_ok=True)
        fix_shapes(onnx_folder / "decoder.onnx", tmp_path / "decoder.onnx", masks)
        fixed_folder = tmp_path
    exported = samlet.load(fixed_folder)
    embedding = sam.encode(image())
    for name in PROMPTS.keys() - {"masks alone", "none"}:
        given = prompts(name)
        assert_alike(exported.decode(embedding, **given), sam.decode(embedding, **given))
    with pytest.raises(
        samlet.InputError, match=f"has 5 clicks and corners; this exported model takes at most {FIXED_POINTS}"
    ):
        exported.decode(embedding, torch.zeros(1, 5, 2), torch.ones(1, 5, dtype=torch.long))
    with pytest.raises(samlet.InputError, match="takes 128 only"):
        samlet.Predictor(exported, image_size=256)
    with pytest.raises(samlet.InputError, match="64 wide and 64 high; expected squares, 128 pixels a side"):
        exported.encode(image(64))


def test_the_size_of_an_export_without_the_models_own(sam, fixed_folder, tmp_path):
    shutil.copytree(fixed_folder, tmp_path, dirs_exist_ok=True)
    write_description(tmp_path, describe(sam, "onnx", **{**FIXED, "image_sizes": [64, 96]}))
    exported = samlet.load(tmp_path)
    assert exported.image_size == exported.check_image_size(None) == 96
    assert exported.check_image_size(64) == 64


def test_models_that_score_by_stability(sam, onnx_folder, tmp_path):
    shutil.copytree(onnx_folder, tmp_path, dirs_exist_ok=True)
    stable = Sam(dataclasses.replace(sam.config, score="stability", mask_threshold=0.1)).eval()
    stable.load_state_dict(sam.state_dict())
    write_description(tmp_path, describe(stable, "onnx"))
    exported, embedding = samlet.load(tmp_path), sam.encode(image())
    found, expected = (model.decode(embedding, POINTS, LABELS) for model in (exported, stable))
    assert torch.allclose(found.iou, expected.iou, atol=1e-2)
    assert exported.fingerprint() != samlet.load(onnx_folder).fingerprint()


def test_predictor(folder, sam):
    exported, own = samlet.Predictor(samlet.load(folder)), samlet.Predictor(sam)
    for predictor in (exported, own):
        predictor.set_image([PHOTOS / "cat.jpg", PHOTOS / "bee.jpg"])
    assert torch.allclose(exported.embedding, own.embedding, atol=1e-3)
    for predictor in (exported, own):
        predictor.set_image(PHOTOS / "cat.jpg")
    ragged = {"points": [[[225, 150], [30, 40]], [[20, 20]]], "labels": [[1, 0], [1]]}
    first = own.predict(**ragged, multimask=False)
    for given in (ragged, {"boxes": [60, 20, 400, 299]}, {**ragged, "masks": first.low_res}, {"masks": first.low_res}):
        for multimask in (True, False):
            found, expected = (predictor.predict(**given, multimask=multimask) for predictor in (exported, own))
            assert np.allclose(found.low_res, expected.low_res, atol=1e-3)
            assert np.allclose(found.iou, expected.iou, atol=1e-3)
            assert (found.masks == expected.masks).mean() > 0.999


def test_everything_mode(folder, sam):
    options = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    for strategy in ("grid", "hierarchical"):
        found, expected = (
            samlet.MaskGenerator(model, strategy=strategy, exact=True, **options)(PHOTOS / "cat.jpg")
            for model in (samlet.load(folder), sam)
        )
        assert len(found) == len(expected) > 2
        assert found.decoder_prompts == expected.decoder_prompts
        for a, b in zip(found, expected, strict=True):
            masks = [decode_rle(one["segmentation"]) for one in (a, b)]
            assert (masks[0] == masks[1]).mean() > 0.999


def test_threads_follow_those_of_torch_and_another_process_opens_its_own(folder):
    exported, threads = samlet.load(folder), torch.get_num_threads()
    first = exported._decoder.session()
    assert exported._decoder.session() is first
    torch.set_num_threads(threads + 1)
    try:
        assert exported._decoder.session() is not first
        copy = pickle.loads(pickle.dumps(exported))
        assert torch.equal(copy.encode(image()), exported.encode(image()))
        alone = ExportedSam(folder, threads=1)
        first = alone._encoder.session()
    finally:
        torch.set_num_threads(threads)
    assert alone._encoder.session() is first
    assert copy.fingerprint() == exported.fingerprint()
    with pytest.raises(samlet.InputError, match="threads is 0"):
        ExportedSam(folder, threads=0)


def test_openvino_keeps_the_last_sizes_and_computes_in_bfloat16_where_it_can(openvino_folder, sam, tmp_path):
    openvino = pytest.importorskip("openvino")
    exported = samlet.load(openvino_folder)
    session = exported._encoder.session()
    for size in (64, 96, 128, 96):
        exported.encode(image(size))
    assert [key[0][-1] for key in session._compiled] == [128, 96]
    shutil.copytree(openvino_folder, tmp_path, dirs_exist_ok=True)
    error = {}
    for precision, runtime in (("bfloat16", None), ("int8", "bf16"), ("float16", None)):
        write_description(tmp_path, describe(sam, "openvino", precision=precision, runtime_precision=runtime))
        error[precision] = float((samlet.load(tmp_path).encode(image()) - sam.encode(image())).abs().mean())
    assert error["float16"] < 1e-4
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert 1e-4 < error["bfloat16"] == error["int8"] < 0.1


def test_executorch_goes_by_places(sam, tmp_path, monkeypatch):
    """What executorch would do, in torch: inputs in the order of the interface, of fixed shapes."""
    from tests.runtimes.exporting import Decoder

    graphs = {"encoder.pte": sam.image_encoder, "decoder.pte": Decoder(sam)}
    mask, grid = SIDE // 4, SIDE // 16
    clicks = (FIXED_PROMPTS, FIXED_POINTS)
    sizes = {
        "encoder.pte": ([(1, 3, SIDE, SIDE)], [(1, 32, grid, grid)]),
        "decoder.pte": (
            [(1, 32, grid, grid), (*clicks, 2), clicks, (1, 1, mask, mask), (1,)],
            [(FIXED_PROMPTS, 4, mask, mask), (FIXED_PROMPTS, 4)],
        ),
    }

    def load_program(path):
        taken, given = sizes[path.name]

        def tensor(shape, number):
            return SimpleNamespace(sizes=lambda: shape, dtype=lambda: 4 if shape == clicks and number == 2 else 6)

        def execute(values):
            assert [tuple(value.shape) for value in values] == taken
            out = graphs[path.name](*values)
            return [out] if isinstance(out, torch.Tensor) else list(out)

        about = SimpleNamespace(
            num_inputs=lambda: len(taken),
            num_outputs=lambda: len(given),
            input_tensor_meta=lambda i: tensor(taken[i], i),
            output_tensor_meta=lambda i: tensor(given[i], None),
        )
        method = SimpleNamespace(metadata=about, execute=execute)
        return SimpleNamespace(load_method=lambda name: {"forward": method}[name])

    runtime = SimpleNamespace(load_program=load_program)
    module = SimpleNamespace(Runtime=SimpleNamespace(get=lambda: runtime))
    monkeypatch.setitem(sys.modules, "executorch", SimpleNamespace(runtime=module))
    monkeypatch.setitem(sys.modules, "executorch.runtime", module)
    for name in graphs:
        (tmp_path / name).write_bytes(b"program")
    exported = samlet.load(write_description(tmp_path, describe(sam, "executorch", **FIXED)))
    embedding = exported.encode(image())
    assert torch.allclose(embedding, sam.encode(image()), atol=1e-5)
    for name in ("points", "points and masks"):
        assert_alike(exported.decode(embedding, **prompts(name)), sam.decode(embedding, **prompts(name)))


def test_prompts_are_clicks_with_corners_first():
    made = Clicks.of(POINTS[:2], LABELS[:2], BOXES[:2], None)
    assert made.labels.tolist() == [[2, 3, 1, 0], [2, 3, 1, -2]]
    assert made.points[0].tolist() == [[10, 10], [60, 90], [20, 30], [90.5, 100]]
    assert Clicks.of(None, None, None, None).points.shape == (1, 0, 2)
    filled = made.with_length(6).with_count(3)
    assert filled.labels.tolist() == [[2, 3, 1, 0, -2, -2], [2, 3, 1, -2, -2, -2], [-2] * 6]
