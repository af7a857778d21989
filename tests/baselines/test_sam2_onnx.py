"""SAM 2 from ONNX against a slow version of it, on a small real pair of graphs with the published one's interface."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from samlet.baselines.fast_sam import FastSam
from samlet.baselines.loading import load_any
from samlet.baselines.sam2_graphs import square_input
from samlet.baselines.sam2_onnx import Sam2Onnx, find_pair
from samlet.cli import main
from samlet.cli.common import file_bytes
from samlet.data.masks import bounding_box, decode_rle
from samlet.errors import CheckpointError, InputError

FLOAT = TensorProto.FLOAT
CHANNELS = np.array([0.5, 0.3, 0.2], np.float32)
RADII = np.array([90, 180, 320], np.float32)  # pixels of the square input
SLOPE = 8
BASES = np.array([0.5, 0.6, 0.55], np.float32)
IMAGE = ("image", FLOAT, (1, 3, 1024, 1024))
FEATURES = [
    ("image_embed", FLOAT, (1, 256, 64, 64)),
    ("high_res_feats_0", FLOAT, (1, 32, 256, 256)),
    ("high_res_feats_1", FLOAT, (1, 64, 128, 128)),
]
PROMPTS = [
    ("point_coords", FLOAT, ("num_labels", "num_points", 2)),
    ("point_labels", FLOAT, ("num_labels", "num_points")),
    ("mask_input", FLOAT, ("num_labels", 1, 256, 256)),
    ("has_mask_input", FLOAT, (1,)),
]
ANSWERS = [("masks", FLOAT, ("a", "b", "c", "d")), ("iou_predictions", FLOAT, ("e", 3))]
SHAPES = [(72, 96), (61, 140), (300, 200), (7, 5)]


def constant(name, values):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))


def save(path, nodes, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "sam2",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def save_encoder(path):
    """Every channel of every feature is the weighted mean of the input's channels, averaged over its cell."""
    nodes = [
        constant("channels", CHANNELS.reshape(1, 3, 1, 1)),
        helper.make_node("Conv", [IMAGE[0], "channels"], ["grey"]),
    ]
    for name, _, shape in FEATURES:
        step = 1024 // shape[2]
        nodes += [
            helper.make_node("AveragePool", ["grey"], [f"{name}_grey"], kernel_shape=[step] * 2, strides=[step] * 2),
            constant(f"{name}_shape", np.array(shape, np.int64)),
            helper.make_node("Expand", [f"{name}_grey", f"{name}_shape"], [name]),
        ]
    return save(path, nodes, [IMAGE], FEATURES)


def save_decoder(path):
    """Three diamonds around the sum of the clicks, each weighted by 2 / (label + 1): where it is bright, larger.

    The mask prompt is added. Predicted IoU grows with the column and with the sum of the weights.
    """
    cells = (np.arange(256, dtype=np.float32) + 0.5) * 4
    nodes = [
        constant("one", np.array(1, np.float32)),
        constant("two", np.array(2, np.float32)),
        constant("slope", np.array(SLOPE, np.float32)),
        constant("far", np.array(4096, np.float32)),
        constant("little", np.array(0.01, np.float32)),
        constant("first", np.array(0, np.int64)),
        constant("second", np.array(1, np.int64)),
        constant("axis1", np.array([1], np.int64)),
        constant("axis2", np.array([2], np.int64)),
        constant("flat", np.array([-1, 1, 1, 1], np.int64)),
        constant("column", np.array([-1, 1], np.int64)),
        constant("from", np.array([0], np.int64)),
        constant("to", np.array([1], np.int64)),
        constant("gx", cells.reshape(1, 1, 1, 256)),
        constant("gy", cells.reshape(1, 1, 256, 1)),
        constant("radii", RADII.reshape(1, 3, 1, 1)),
        constant("bases", BASES.reshape(1, 3)),
        helper.make_node("Add", ["point_labels", "one"], ["above"]),
        helper.make_node("Div", ["two", "above"], ["weights"]),
        helper.make_node("Unsqueeze", ["weights", "axis2"], ["weights3"]),
        helper.make_node("Mul", ["point_coords", "weights3"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis1"], ["centre"], keepdims=0),
        helper.make_node("Gather", ["centre", "first"], ["cx"], axis=1),
        helper.make_node("Gather", ["centre", "second"], ["cy"], axis=1),
        helper.make_node("Reshape", ["cx", "flat"], ["cx4"]),
        helper.make_node("Reshape", ["cy", "flat"], ["cy4"]),
        helper.make_node("Sub", ["gx", "cx4"], ["dx"]),
        helper.make_node("Sub", ["gy", "cy4"], ["dy"]),
        helper.make_node("Abs", ["dx"], ["adx"]),
        helper.make_node("Abs", ["dy"], ["ady"]),
        helper.make_node("Add", ["adx", "ady"], ["distance"]),
        helper.make_node("Sub", ["radii", "distance"], ["inside"]),
        helper.make_node("Div", ["inside", "slope"], ["diamonds"]),
        helper.make_node("Slice", ["high_res_feats_0", "from", "to", "axis1"], ["bright"]),
        helper.make_node("Add", ["diamonds", "bright"], ["lit"]),
        helper.make_node("Mul", ["mask_input", "has_mask_input"], ["earlier"]),
        helper.make_node("Add", ["lit", "earlier"], ["masks"]),
        helper.make_node("ReduceSum", ["weights", "axis1"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "little"], ["some"]),
        helper.make_node("Div", ["cx", "far"], ["right"]),
        helper.make_node("Reshape", ["right", "column"], ["right2"]),
        helper.make_node("Add", ["bases", "some"], ["iou"]),
        helper.make_node("Add", ["iou", "right2"], ["iou_predictions"]),
    ]
    return save(path, nodes, FEATURES + PROMPTS, ANSWERS)


def save_pair(folder):
    folder.mkdir(exist_ok=True)
    return save_encoder(folder / "small_encoder.onnx"), save_decoder(folder / "small_decoder.onnx")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return save_pair(tmp_path_factory.mktemp("sam2"))


def picture(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def looking_at(pair, shape, seed=0):
    model = Sam2Onnx(*pair, threads=1)
    model.set_image(picture(shape, seed))
    return model


# ---- slow versions ----------------------------------------------------------------------------------------------


def slow_brightness(image):
    """The pair's first feature (256, 256)."""
    values = torch.from_numpy(image / 255).permute(2, 0, 1)[None]
    values = F.interpolate(values, (1024, 1024), mode="bilinear", antialias=True)[0].numpy()
    normal = (values - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    return np.tensordot(CHANNELS, normal, 1).reshape(256, 4, 256, 4).mean(axis=(1, 3))


def slow_answer(image, clicks, labels, mask=0.0):
    """Logits at full size (3, H, W) and predicted IoU (3,) of one prompt of clicks x, y in pixels of the image."""
    height, width = image.shape[:2]
    weights = [2 / (label + 1) for label in labels]
    x = sum(w * click[0] * 1024 / width for w, click in zip(weights, clicks, strict=True))
    y = sum(w * click[1] * 1024 / height for w, click in zip(weights, clicks, strict=True))
    cells = (np.arange(256) + 0.5) * 4
    distance = abs(cells[None] - x) + abs(cells[:, None] - y)
    low_res = (RADII.reshape(3, 1, 1) - distance) / SLOPE + slow_brightness(image) + mask
    logits = F.interpolate(torch.from_numpy(low_res)[None], (height, width), mode="bilinear")[0].numpy()
    return logits, BASES + 0.01 * sum(weights) + x / 4096


def check(answers, number, image, clicks, labels, mask=0.0):
    logits, iou = slow_answer(image, clicks, labels, mask)
    np.testing.assert_allclose(answers.scores[number], iou, rtol=1e-5)
    drawn = answers.draw(number, [0, 1, 2])
    assert drawn.dtype == bool
    np.testing.assert_array_equal(drawn[abs(logits) > 1e-3], (logits > 0)[abs(logits) > 1e-3])
    np.testing.assert_array_equal(answers.draw(number, [2, 0]), drawn[[2, 0]])
    assert answers.best(number) == iou.argmax()


# ---- prompts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_points_and_boxes_are_answered_as_by_the_slow_version(pair, shape):
    image, model = picture(shape), looking_at(pair, shape)
    height, width = shape
    points = np.random.default_rng(1).uniform(0, [width, height], (6, 1, 2))
    answers = model.answer(points=points)
    assert (answers.scores.shape, answers.multi) == ((6, 3), (0, 1, 2))
    assert answers.singles.tolist() == [answers.best(p) for p in range(6)]
    for number, clicks in enumerate(points):
        check(answers, number, image, clicks, [1])
    assert answers.draw(0, [1]).shape == (1, *shape)
    box = [width * 0.2, height * 0.1, width * 0.6, height * 0.9]
    check(model.answer(boxes=box), 0, image, [box[:2], box[2:]], [2, 3])
    both = model.answer(points=[[[width * 0.3, height * 0.3]]], labels=[[0]], boxes=[box])
    check(both, 0, image, [box[:2], box[2:], [width * 0.3, height * 0.3]], [2, 3, 0])


def test_prompts_of_differing_lengths_know_nothing_of_each_other(pair):
    image, model = picture((72, 96)), looking_at(pair, (72, 96))
    points = [[[50, 30]], [[20, 15], [10, 40], [1, 2]], [[30, 30]], [[5, 60], [3, 3]], [[60, 60]], [[9, 9]], [[8, 50]]]
    labels = [[1], [1, 1, 0], [0], [1, 0], [1], [1], [1]]
    answers = model.answer(points=points, labels=labels)
    for number, (clicks, kinds) in enumerate(zip(points, labels, strict=True)):
        check(answers, number, image, clicks, kinds)


def test_mask_prompts_alone_and_with_points(pair):
    image, model = picture((72, 96)), looking_at(pair, (72, 96))
    masks = np.random.default_rng(2).normal(0, 30, (2, 256, 256)).astype(np.float32)
    answers = model.answer(points=[[[50, 30]], [[10, 60]]], masks=masks)
    for number, click in enumerate(([50, 30], [10, 60])):
        check(answers, number, image, [click], [1], masks[number])
    check(model.answer(masks=masks[1]), 0, image, [], [], masks[1])


def test_answers_outlive_the_image(pair):
    model = looking_at(pair, (72, 96))
    answers = model.answer(points=[[50, 30]])
    model.set_image(picture((61, 140), 3))
    check(answers, 0, picture((72, 96)), [[50, 30]], [1])


@pytest.mark.parametrize("levels", [(255, 0, 0), (0, 128, 255)])
def test_the_input_is_stretched_and_normalised(levels):
    values = square_input(np.full((30, 70, 3), levels, np.uint8))
    wanted = (np.array(levels) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert values.shape == (1, 3, 1024, 1024)
    np.testing.assert_allclose(values[0].min(axis=(1, 2)), wanted, atol=1e-5)
    np.testing.assert_allclose(values[0].max(axis=(1, 2)), wanted, atol=1e-5)
    stripes = np.zeros((4096, 8, 3), np.uint8)
    stripes[::2] = 255  # finer than the input can show
    assert np.ptp(square_input(stripes)[0, 0, 8:-8]) < 0.2


# ---- everything -------------------------------------------------------------------------------------------------


def slow_everything(image, side, iou_limit, stability_limit, overlap_limit):
    """(mask, IoU, stability, point) of what stays, best first."""
    height, width = image.shape[:2]
    found = []
    for row in range(side):
        for column in range(side):
            point = ((column + 0.5) * width / side, (row + 0.5) * height / side)
            logits, iou = slow_answer(image, [point], [1])
            for k in range(3):
                stability = (logits[k] > 1).sum() / max((logits[k] > -1).sum(), 1)
                if iou[k] > iou_limit and stability >= stability_limit:
                    found.append((logits[k] > 0, iou[k], stability, point))
    found.sort(key=lambda entry: -entry[1])
    kept, boxes = [], []
    for entry in found:
        x, y, w, h = bounding_box(entry[0])
        box = (x, y, x + w - 1, y + h - 1)
        if all(slow_iou(box, other) <= overlap_limit for other in boxes):
            kept.append(entry)
            boxes.append(box)
    return kept


def slow_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@pytest.mark.parametrize(("iou", "stability", "overlap"), [(0.65, 0.6, 0.7), (0.0, 0.0, 0.3), (0.75, 0.5, 1.0)])
def test_everything_is_that_of_the_slow_version(pair, iou, stability, overlap):
    image, model = picture((61, 140)), looking_at(pair, (61, 140))
    options = {"pred_iou_thresh": iou, "stability_score_thresh": stability, "box_nms_thresh": overlap}
    found = model.everything(points_per_side=5, **options)
    slow = slow_everything(image, 5, iou, stability, overlap)
    assert len(found) == len(slow) > 3
    assert (found.size, found.decoder_prompts) == ((61, 140), 25)
    assert found.seconds > 0
    for record, (mask, score, stable, point) in zip(found, slow, strict=True):
        drawn = decode_rle(record["segmentation"])
        assert (drawn != mask).mean() < 1e-3  # logits are kept in half precision
        assert record["area"] == drawn.sum()
        assert tuple(record["bbox"]) == bounding_box(drawn)
        assert record["predicted_iou"] == pytest.approx(score, abs=1e-5)
        assert record["stability_score"] == pytest.approx(stable, abs=0.02)
        assert record["point_coords"] == [pytest.approx(point)]
        assert record["crop_box"] == [0, 0, 140, 61]
    again = model.everything(points_per_side=5, points_per_batch=9, strategy="grid", **options)
    assert [record["segmentation"] for record in again] == [record["segmentation"] for record in found]


def test_nothing_good_enough_is_an_empty_answer(pair):
    assert looking_at(pair, (72, 96)).everything(points_per_side=2, pred_iou_thresh=0.99) == []


# ---- what cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_n_layers": 1}, "everything was given crop_n_layers=1; expected only strategy, points_per_side"),
        ({"nonsense": 2}, "nonsense=2"),
        ({"strategy": "hierarchical"}, "strategy is hierarchical; expected grid"),
        ({"points_per_side": 0}, "points_per_side is 0"),
        ({"pred_iou_thresh": 1.5}, "pred_iou_thresh is 1.5"),
    ],
)
def test_options_that_it_has_not(pair, options, message):
    model = looking_at(pair, (72, 96))
    for ask in (model.everything, model.everything_settings):
        with pytest.raises(InputError, match=message):
            ask(**options)


def test_what_the_caller_does_wrong(pair):
    model = Sam2Onnx(*pair)
    for ask in (lambda: model.answer(points=[[1, 2]]), model.everything):
        with pytest.raises(InputError, match="set_image"):
            ask()
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) RGB"):
        model.set_image(np.zeros((5, 5, 7), np.uint8))
    model.set_image(picture((72, 96)))
    with pytest.raises(InputError, match="outside the image"):
        model.answer(points=[[98, 2]])
    with pytest.raises(InputError, match="threads is 0"):
        Sam2Onnx(*pair, threads=0)


def test_one_for_the_other_is_refused(pair, tmp_path):
    for first, second in (pair[::-1], (pair[0], pair[0]), (pair[1], pair[1])):
        with pytest.raises(CheckpointError, match="has the inputs") as caught:
            Sam2Onnx(first, second)
        assert "plugin-segment-anything" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="FastSAM"):
        FastSam(pair[0])
    for wrong in (tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(CheckpointError, match="is not a file"):
            Sam2Onnx(pair[0], wrong)


FOREIGN = {
    "another size": ([("image", FLOAT, (1, 3, 512, 512))], FEATURES),
    "another name": ([("pixels", FLOAT, (1, 3, 1024, 1024))], FEATURES),
    "integers": ([("image", TensorProto.UINT8, (1, 3, 1024, 1024))], FEATURES),
    "the embedding alone": ([IMAGE], FEATURES[:1]),
    "other features": ([IMAGE], [FEATURES[0], FEATURES[1], ("high_res_feats_1", FLOAT, (1, 32, 128, 128))]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_networks_are_refused(pair, tmp_path, name):
    inputs, outputs = FOREIGN[name]
    nodes = [constant(entry[0], np.zeros(entry[2], np.float32)) for entry in outputs]
    path = save(tmp_path / "encoder.onnx", nodes, inputs, outputs)
    with pytest.raises(CheckpointError, match="expected float") as caught:
        Sam2Onnx(path, pair[1])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_answers_of_another_shape_and_graphs_that_fail_say_so(pair, tmp_path):
    cases = (
        ("mask_input", (1, -1, 256, 256), r"answers 2 prompts with masks \(1, 2, 256, 256\)"),
        ("point_labels", (1, 3, 256, 256), "cannot be run"),
    )
    for taken, shape, message in cases:
        nodes = [
            constant("shape", np.array(shape, np.int64)),
            helper.make_node("Reshape", [taken, "shape"], ["masks"]),
            constant("iou_predictions", np.zeros((1, 3), np.float32)),
        ]
        model = Sam2Onnx(pair[0], save(tmp_path / f"{taken}.onnx", nodes, FEATURES + PROMPTS, ANSWERS))
        model.set_image(picture((72, 96)))
        with pytest.raises(CheckpointError, match=message) as caught:
            model.answer(points=[[[1, 2]], [[3, 4]]])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 100, -1])
@pytest.mark.parametrize("which", [0, 1])
def test_damaged_files_are_refused_in_one_line(tmp_path, pair, length, which):
    path = tmp_path / "cut.onnx"
    path.write_bytes(pair[which].read_bytes()[:length])
    files = list(pair)
    files[which] = path
    with pytest.raises(CheckpointError, match="plugin-segment-anything") as caught:
        Sam2Onnx(*files)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_error_says_what_to_install(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'samlet\[onnx\]'"):
        Sam2Onnx(*pair)


# ---- a folder as a model ----------------------------------------------------------------------------------------


def test_a_pair_is_found_by_its_names(tmp_path):
    def folder(name, *files):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
        return tmp_path / name

    good = folder("good", "sam2_Encoder.with_runtime_opt.ort", "decoder_pr1.onnx", "notes.txt", "sam2_encoder.md")
    assert find_pair(good) == (good / "sam2_Encoder.with_runtime_opt.ort", good / "decoder_pr1.onnx")
    assert find_pair(folder("model", "encoder.onnx", "decoder.onnx", "config.json")) is None
    assert find_pair(folder("two", "encoder.onnx", "encoder.ort", "decoder.onnx")) is None
    assert find_pair(folder("half", "encoder.onnx")) is None
    assert find_pair(folder("one", "encoder_decoder.onnx")) is None
    assert find_pair(folder("empty")) is None
    assert find_pair(tmp_path / "missing") is None


def test_the_fingerprint_is_of_both_files(pair, tmp_path):
    first = Sam2Onnx(*pair).fingerprint()
    copies = [shutil.copy(path, tmp_path / path.name) for path in pair]
    assert Sam2Onnx(*copies).fingerprint() == first
    changed = onnx.load(copies[1])
    changed.producer_name = "another"
    onnx.save(changed, copies[1])
    assert Sam2Onnx(*copies).fingerprint() != first


def test_the_command_line_takes_the_folder(pair, photo_folder, capsys):
    folder = pair[0].parent
    model = load_any(str(folder), torch.device("cpu"), 1)
    assert isinstance(model, Sam2Onnx)
    assert file_bytes(folder) == sum(path.stat().st_size for path in pair)
    arguments = ["evaluate", str(folder), "--data", str(photo_folder), "--limit", "2", "--json"]
    assert main([*arguments, "--reference", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["miou"]["best"]) == (2, 1.0)
    assert main([*arguments, "--reference", str(folder), "--image-size", "512"]) == 2
    assert "takes 1024 only" in capsys.readouterr().err
