"""FastSAM's pre- and post-processing against slow versions of it, on small real graphs with FastSAM's interface."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samlet.baselines.detections import Letterbox, draw_mask, find_boxes, snap_to_edges
from samlet.baselines.fast_sam import FastSam
from samlet.data.masks import bounding_box, decode_rle
from samlet.errors import CheckpointError, InputError

SIZE = 96
ANCHORS = (SIZE // 8) ** 2 + (SIZE // 16) ** 2 + (SIZE // 32) ** 2
SHAPES = [(96, 96), (61, 140), (120, 70), (23, 31), (97, 95), (110, 33), (101, 150)]


def constant(name, values):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))


def save(path, nodes, outputs, inputs=(("images", TensorProto.FLOAT, (1, 3, SIZE, SIZE)),)):
    graph = helper.make_graph(
        nodes,
        "fast_sam",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def save_network(path, columns, prototypes, swapped=False):
    """A graph that predicts `columns` (37, N), the first scored by the input's red top left pixel.

    The prototypes are the means of 4 x 4 pixels of the input, channels 0 to 2, and 29 constant channels.
    """
    kept = {"boxes": columns[None, :4], "scores": columns[None, 4:5, 1:], "weights": columns[None, 5:]}
    nodes = [constant(name, np.ascontiguousarray(values)) for name, values in kept.items()]
    nodes += [
        constant("rest", prototypes[None]),
        constant("zeros", np.zeros(3, np.int64)),
        constant("ones", np.ones(3, np.int64)),
        constant("axes", np.array([1, 2, 3], np.int64)),
        constant("flat", np.array([1, 1, 1], np.int64)),
        helper.make_node("Slice", ["images", "zeros", "ones", "axes"], ["corner"]),
        helper.make_node("Reshape", ["corner", "flat"], ["seen"]),
        helper.make_node("Concat", ["seen", "scores"], ["all_scores"], axis=2),
        helper.make_node("Concat", ["boxes", "all_scores", "weights"], ["output0"], axis=1),
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["means", "rest"], ["output1"], axis=1),
    ]
    outputs = [
        ("output0", TensorProto.FLOAT, (1, 37, columns.shape[1])),
        ("output1", TensorProto.FLOAT, (1, 32, *prototypes.shape[1:])),
    ]
    inputs = [("images", TensorProto.FLOAT, (1, 3, 4 * prototypes.shape[1], 4 * prototypes.shape[2]))]
    return save(path, nodes, outputs[::-1] if swapped else outputs, inputs)


def random_outputs(seed, objects=14, height=SIZE, width=SIZE):
    """Objects with near copies of themselves among many columns of low score, and smooth prototypes."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(37, ANCHORS)).astype(np.float32)
    columns[:4] = rng.uniform(5, 30, (4, ANCHORS))
    columns[4] = rng.uniform(0, 0.39, ANCHORS)
    chosen = rng.permutation(np.arange(1, ANCHORS))[: 3 * objects].reshape(3, -1)
    centres = rng.uniform([0.1 * width, 0.1 * height], [0.9 * width, 0.9 * height], (objects, 2))
    sides = rng.uniform(12, 70, (objects, 2))
    for copy, numbers in enumerate(chosen):
        columns[:2, numbers] = centres.T + rng.uniform(-0.5, 0.5, (2, objects)) * copy
        columns[2:4, numbers] = sides.T + rng.uniform(-2, 2, (2, objects)) * copy
        columns[4, numbers] = rng.uniform(0.41, 1, objects)
    columns[5:8] *= 2
    return columns, rng.normal(size=(29, height // 4, width // 4)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    columns, prototypes = random_outputs(0)
    return save_network(tmp_path_factory.mktemp("onnx") / "small.onnx", columns, prototypes), columns, prototypes


def picture(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


# ---- slow versions ----------------------------------------------------------------------------------------------


def slow_bilinear(values, height, width):
    """(h, w) at height x width, by the four neighbours of every pixel's place."""
    h, w = values.shape
    v = np.maximum(0, (np.arange(height)[:, None] + 0.5) * h / height - 0.5)
    u = np.maximum(0, (np.arange(width)[None] + 0.5) * w / width - 0.5)
    y0, x0 = np.minimum(v.astype(int), h - 1), np.minimum(u.astype(int), w - 1)
    y1, x1 = np.minimum(y0 + 1, h - 1), np.minimum(x0 + 1, w - 1)
    upper = values[y0, x0] * (1 - (u - x0)) + values[y0, x1] * (u - x0)
    lower = values[y1, x0] * (1 - (u - x0)) + values[y1, x1] * (u - x0)
    return upper * (1 - (v - y0)) + lower * (v - y0)


def slow_letterbox(image, height=SIZE, width=SIZE):
    """The input (3, height, width) in [0, 1]."""
    h, w = image.shape[:2]
    gain = min(height / h, width / w)
    new_h, new_w = round(h * gain), round(w * gain)
    top, left = round((height - new_h) / 2 - 0.1), round((width - new_w) / 2 - 0.1)
    result = np.full((3, height, width), 114.0)
    for c in range(3):
        channel = image[..., c].astype(float)
        if (new_h, new_w) != (h, w):
            channel = np.floor(slow_bilinear(channel, new_h, new_w) + 0.5)
        result[c, top : top + new_h, left : left + new_w] = channel
    return result / 255


def slow_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def slow_detections(columns, confidence, iou, limit):
    """(box, score, coefficients) in pixels of the input."""
    found = []
    for cx, cy, w, h, score, *weights in columns.T.astype(float):
        if score > confidence:
            found.append(((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), score, weights))
    found.sort(key=lambda entry: -entry[1])
    kept = []
    for entry in found:
        if all(slow_iou(entry[0], other[0]) <= iou for other in kept):
            kept.append(entry)
    return kept[:limit]


def slow_snap(box, height, width):
    x0, y0, x1, y1 = box
    box = (
        0 if x0 < 20 else x0,
        0 if y0 < 20 else y0,
        width if x1 > width - 20 else x1,
        height if y1 > height - 20 else y1,
    )
    whole = (0, 0, width, height)
    return whole if slow_iou(box, whole) > 0.9 else box


def slow_answer(columns, prototypes, image, confidence=0.4, iou=0.9, limit=300):
    """(masks (N, h, w), scores, boxes) on the image."""
    h, w = image.shape[:2]
    _, rows, cells = prototypes.shape
    height, width = 4 * rows, 4 * cells
    pixels = slow_letterbox(image, height, width)
    columns = columns.copy()
    columns[4, 0] = pixels[0, 0, 0]
    means = pixels.reshape(3, rows, 4, cells, 4).mean(axis=(2, 4))
    channels = np.concatenate([means, prototypes])
    gain, small = min(height / h, width / w), min(rows / h, cells / w)
    left, top = round((width - w * gain) / 2 - 0.1), round((height - h * gain) / 2 - 0.1)
    y, x = (rows - h * small) / 2, (cells - w * small) / 2
    masks, scores, boxes = [], [], []
    for box, score, weights in slow_detections(columns, confidence, iou, limit):
        moved = np.array(slow_snap(box, height, width))
        moved = (moved - [left, top, left, top]) / gain
        x0, y0, x1, y1 = moved.clip(0, [w, h, w, h])
        logits = sum(weight * channel for weight, channel in zip(weights, channels, strict=True))
        logits = slow_bilinear(logits[int(y) : int(rows - y), int(x) : int(cells - x)], h, w)
        v, u = np.indices((h, w))
        masks.append((x0 <= u) & (u < x1) & (y0 <= v) & (v < y1) & (logits > 0))
        scores.append(score)
        boxes.append((x0, y0, x1, y1))
    return np.array(masks).reshape(-1, h, w), np.array(scores), np.array(boxes).reshape(-1, 4)


def slow_points(masks, points, labels):
    result = np.zeros(masks.shape[1:], int)
    for mask in sorted(masks, key=np.sum, reverse=True):
        for (x, y), label in zip(points, labels, strict=True):
            if mask[int(y), int(x)]:
                result[mask] = label
    return result > 0


def slow_box(masks, box):
    """The number of the mask that a box chooses."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    overlaps = []
    for mask in masks:
        inside = mask[y0:y1, x0:x1].sum()
        overlaps.append(inside / ((x1 - x0) * (y1 - y0) + mask.sum() - inside))
    return overlaps.index(max(overlaps))


# ---- from the image to masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_scores_and_boxes_are_those_of_the_slow_version(network, shape):
    path, columns, prototypes = network
    image = picture(shape)
    model = FastSam(path)
    model.set_image(image)
    masks, scores, boxes = slow_answer(columns, prototypes, image)
    found = model.everything()
    assert len(found) == len(masks) > 5
    drawn = np.array([decode_rle(record["segmentation"]) for record in found])
    assert drawn.any(axis=(1, 2)).sum() > 5
    assert (drawn != masks).mean() < 1e-5  # logits that are 0 but for rounding
    np.testing.assert_allclose([record["predicted_iou"] for record in found], scores, rtol=1e-6)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose([record["point_coords"][0] for record in found], centres, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_input_is_the_slow_letterbox(shape):
    image = picture(shape, 1)
    levels = Letterbox(*shape, (SIZE, SIZE)).pixels(image)[0] * 255
    wanted = slow_letterbox(image) * 255
    assert levels.shape == wanted.shape
    assert np.abs(levels - wanted).max() < 1.001
    assert (np.abs(levels - wanted) > 0.01).mean() < 0.003  # halves


def test_padding_is_grey_and_above_the_middle(network):
    model = FastSam(network[0])
    model.set_image(np.zeros((61, 140, 3), np.uint8))  # wider than high: the top left pixel is padding
    assert any(math.isclose(record["predicted_iou"], 114 / 255, rel_tol=1e-6) for record in model.everything())
    model.set_image(np.zeros((96, 96, 3), np.uint8))
    assert all(record["predicted_iou"] > 0.405 for record in model.everything())
    values = Letterbox(95, 96, (96, 96)).pixels(np.zeros((95, 96, 3), np.uint8))
    assert (values[0, :, -1] > 0).all()  # one row of padding goes below
    assert (values[0, :, 0] == 0).all()


def test_red_comes_first(tmp_path):
    columns, prototypes = random_outputs(0)
    columns[4] = 0
    columns[:, 1] = 0
    columns[:8, 1] = 48, 48, 96, 96, 0.9, 1, -0.5, -0.5  # red exceeds the mean of green and blue
    path = save_network(tmp_path / "red.onnx", columns, prototypes)
    image = np.zeros((96, 96, 3), np.uint8)
    image[:48, :, 0], image[48:, :, 2] = 200, 200
    model = FastSam(path)
    model.set_image(image)
    mask = decode_rle(model.everything()[0]["segmentation"])
    assert mask[:46].all()
    assert not mask[50:].any()


def test_inputs_need_not_be_square(tmp_path):
    columns, prototypes = random_outputs(3, height=64, width=128)
    model = FastSam(save_network(tmp_path / "wide.onnx", columns, prototypes))
    assert model.image_size == 128
    image = picture((90, 75))
    model.set_image(image)
    masks, _, _ = slow_answer(columns, prototypes, image)
    drawn = np.array([decode_rle(record["segmentation"]) for record in model.everything()])
    assert (drawn != masks).mean() < 1e-5


def test_open_sizes_become_1024(tmp_path):
    columns, _ = random_outputs(0)
    columns[4] = 0
    columns[:, 1] = 0
    columns[:6, 1] = 512, 512, 1024, 1024, 0.9, 1
    nodes = [
        constant("output0", columns[None]),
        constant("weights", np.ones((32, 3, 1, 1), np.float32)),
        constant("bias", np.full(32, -1.5, np.float32)),
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["means", "weights", "bias"], ["output1"]),
    ]
    outputs = [
        ("output0", TensorProto.FLOAT, ("batch", 37, "anchors")),
        ("output1", TensorProto.FLOAT, ("batch", 32, "rows", "columns")),
    ]
    inputs = [("images", TensorProto.FLOAT, ("batch", 3, "height", "width"))]
    model = FastSam(save(tmp_path / "open.onnx", nodes, outputs, inputs), threads=1)
    assert model.image_size == 1024
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    model.set_image(image)
    (record,) = model.everything()
    assert record["bbox"][0] in (99, 100, 101)
    assert record["bbox"][1] == 0
    assert abs(record["area"] - 100 * 100) <= 100


def test_outputs_are_told_by_their_shape(tmp_path, network):
    path, columns, prototypes = network
    swapped = FastSam(save_network(tmp_path / "swapped.onnx", columns, prototypes, swapped=True))
    model = FastSam(path)
    for either in (model, swapped):
        either.set_image(picture((61, 140)))
    assert list(swapped.everything()) == list(model.everything())


@pytest.mark.parametrize(("confidence", "iou", "limit"), [(0.4, 0.9, 300), (0.6, 0.9, 300), (0.1, 0.3, 7), (0, 1, 50)])
def test_boxes_are_those_of_slow_suppression(confidence, iou, limit):
    columns, _ = random_outputs(5)
    boxes, scores, weights = find_boxes(columns, confidence, iou, limit)
    slow = slow_detections(columns, confidence, iou, limit)
    assert len(boxes) == len(slow) > 3
    np.testing.assert_allclose(boxes, [entry[0] for entry in slow], atol=1e-4)
    np.testing.assert_allclose(scores, [entry[1] for entry in slow])
    np.testing.assert_allclose(weights, [entry[2] for entry in slow])


def test_a_score_at_the_confidence_is_dropped():
    columns = np.zeros((37, 2), np.float32)
    columns[:5] = np.array([[10, 10, 5, 5, 0.5], [40, 40, 5, 5, np.nextafter(np.float32(0.5), 1)]]).T
    assert find_boxes(columns, 0.5, 0.9, 300)[0].tolist() == [[37.5, 37.5, 42.5, 42.5]]


def test_boxes_near_the_edges_are_snapped():
    ends = [0, 19.9, 20, 30]
    starts = itertools.product(ends, ends, ends, ends)
    boxes = np.array([(a, b, 640 - c, 480 - d) for a, b, c, d in starts] + [(0, 0, 640, 440), (0, 0, 640, 430)])
    snapped = snap_to_edges(boxes.astype(np.float32), (480, 640))
    np.testing.assert_allclose(snapped, [slow_snap(box, 480, 640) for box in boxes], rtol=1e-6)
    assert snapped[-2].tolist() == [0, 0, 640, 480]  # IoU 0.917
    assert snapped[-1].tolist() == [0, 0, 640, 430]


def test_strips_of_a_mask_fit_together(monkeypatch):
    rng = np.random.default_rng(0)
    prototypes, weights = rng.normal(size=(32, 12, 20)).astype(np.float32), rng.normal(size=32).astype(np.float32)
    box = np.array([3.2, 5.8, 77, 60], np.float32)
    whole = draw_mask(prototypes, weights, box, (64, 80))
    monkeypatch.setattr("samlet.baselines.detections._MAX_PIXELS", 500)
    np.testing.assert_array_equal(draw_mask(prototypes, weights, box, (64, 80)), whole)
    assert whole.any()


# ---- prompts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(network):
    """A model with an image set, its masks and scores."""
    model = FastSam(network[0])
    model.set_image(picture((61, 140)))
    found = model.everything()
    masks = np.array([decode_rle(record["segmentation"]) for record in found])
    return model, masks, np.array([record["predicted_iou"] for record in found], np.float32)


def test_points_follow_the_rule(seen):
    model, masks, scores = seen
    rng = np.random.default_rng(7)
    points = rng.uniform(0, [140, 61], (60, 4, 2))
    labels = rng.integers(0, 2, (60, 4))
    answers = model.answer(points=points, labels=labels)
    assert (answers.scores.shape, answers.multi) == ((60, 1), (0,))
    assert not answers.singles.any()
    cut = 0
    for p in range(60):
        (mask,) = answers.draw(p, [0])
        np.testing.assert_array_equal(mask, slow_points(masks, points[p], labels[p]))
        positive = slow_points(masks, points[p][labels[p] == 1], [1] * labels[p].sum())
        cut += (mask != positive).any()
        assert mask.any() <= (answers.scores[p, 0] in scores)
        assert answers.best(p) == 0
    assert cut > 10  # negative points had something to do


def test_one_positive_point_takes_all_masks_that_hold_it(seen):
    model, masks, scores = seen
    y, x = np.argwhere(masks.sum(axis=0) == masks.sum(axis=0).max())[0]
    answers = model.answer(points=[[x, y]])
    holding = masks[:, y, x]
    assert holding.sum() > 1
    np.testing.assert_array_equal(answers.draw(0, [0])[0], masks[holding].any(axis=0))
    assert answers.scores[0, 0] == scores[holding].max()
    cut = model.answer(points=[[x, y], [x, y]], labels=[1, 0])  # the last label decides
    assert not cut.draw(0, [0]).any()
    assert cut.scores[0, 0] == 0
    kept = model.answer(points=[[x, y], [x, y]], labels=[0, 1])
    np.testing.assert_array_equal(kept.draw(0, [0]), answers.draw(0, [0]))


def test_prompts_of_differing_lengths(seen):
    model, masks, _ = seen
    points = [[[70, 30]], [[20.7, 15.2], [100, 40], [0, 0]], [[139, 60], [70, 30]]]
    labels = [[1], [1, 1, 0], [0, 1]]
    answers = model.answer(points=points, labels=labels)
    for p in range(3):
        np.testing.assert_array_equal(answers.draw(p, [0])[0], slow_points(masks, points[p], labels[p]))


def test_boxes_follow_the_rule(seen):
    model, masks, scores = seen
    rng = np.random.default_rng(8)
    corners = np.sort(rng.uniform(0, [140, 61], (40, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4)
    boxes = boxes[(np.rint(boxes[:, :2]) < np.rint(boxes[:, 2:])).all(axis=1)]
    boxes = np.vstack([boxes, [10.5, 20.5, 11.5, 22.5], [0, 0, 140, 61]])
    answers = model.answer(boxes=boxes)
    chosen = [slow_box(masks, box) for box in boxes]
    assert len(set(chosen)) > 5
    np.testing.assert_array_equal(answers.scores[:, 0], scores[chosen])
    for p, number in enumerate(chosen):
        np.testing.assert_array_equal(answers.draw(p, [0, 0]), masks[[number, number]])
    np.testing.assert_array_equal(model.answer(boxes=boxes[3]).draw(0, [0]), answers.draw(3, [0]))


def test_a_box_that_no_mask_touches_takes_the_first(seen):
    model, masks, scores = seen
    y, x = np.argwhere(~masks.any(axis=0))[0]
    for box in ([x, y, x + 1, y + 1], [x + 0.1, y + 0.1, x + 0.2, y + 0.2]):
        answers = model.answer(boxes=box)
        assert answers.scores[0, 0] == scores[0]
        np.testing.assert_array_equal(answers.draw(0, [0])[0], masks[0])


def test_answers_outlive_the_image(network, seen):
    model = FastSam(network[0])
    model.set_image(picture((61, 140)))
    answers = model.answer(points=[[70, 30]])
    model.set_image(picture((96, 96)))
    np.testing.assert_array_equal(answers.draw(0, [0]), seen[0].answer(points=[[70, 30]]).draw(0, [0]))


def test_everything_has_the_keys_of_the_mask_generator(network, seen):
    found = seen[0].everything()
    assert (found.size, found.decoder_prompts) == ((61, 140), 0)
    assert found.seconds > 0
    assert [record["predicted_iou"] for record in found] == sorted((r["predicted_iou"] for r in found), reverse=True)
    for record in found:
        mask = decode_rle(record["segmentation"])
        assert record["area"] == mask.sum()
        assert tuple(record["bbox"]) == bounding_box(mask)
        assert record["stability_score"] == 1
        assert record["crop_box"] == [0, 0, 140, 61]
    assert len(found) > len(_opened(network, max_detections=4).everything()) == 4
    assert len(found) > len(_opened(network, confidence=0.8).everything()) > 0
    assert len(found) > len(_opened(network, iou=0.5).everything()) > 0


def _opened(network, **options):
    model = FastSam(network[0], **options)
    model.set_image(picture((61, 140)))
    return model


def test_nothing_found_is_an_empty_answer(network):
    model = _opened(network, confidence=1)
    assert model.everything() == []
    for answers in (
        model.answer(points=[[[3, 4]], [[5, 6]]]),
        model.answer(points=[[3, 4], [5, 6]], labels=[1, 0]),
        model.answer(boxes=[[1, 2, 30, 40], [3, 4, 5, 6]]),
    ):
        assert answers.scores.shape in ((1, 1), (2, 1))
        assert not answers.scores.any()
        mask = answers.draw(0, [0])
        assert mask.shape == (1, 61, 140)
        assert mask.dtype == bool
        assert not mask.any()


# ---- what cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"points": [[1, 2]], "boxes": [1, 2, 3, 4]}, "one kind"),
        ({"masks": np.zeros((1, 24, 24))}, "takes none"),
        ({}, "expected points or boxes"),
        ({"points": [[142, 2]]}, "outside the image"),
        ({"boxes": [1, 2, 3, 64]}, "outside the image"),
        ({"points": [[1, 2]], "labels": [1, 1]}, "labels do not match"),
        ({"labels": [1]}, "without points"),
    ],
)
def test_prompts_that_cannot_be_used(seen, prompt, message):
    with pytest.raises(InputError, match=message):
        seen[0].answer(**prompt)


def test_what_the_caller_does_wrong(network):
    model = FastSam(network[0])
    with pytest.raises(InputError, match="set_image"):
        model.answer(points=[[1, 2]])
    with pytest.raises(InputError, match="set_image"):
        model.everything()
    with pytest.raises(InputError, match="points_per_side=32"):
        model.everything(points_per_side=32)
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) RGB"):
        model.set_image(np.zeros((5, 5, 7), np.uint8))
    for options in ({"confidence": 1.5}, {"iou": -1}, {"max_detections": 0}, {"threads": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            FastSam(network[0], **options)


FOREIGN = {
    "eighty classes": ([(1, 116, 189), (1, 32, 24, 24)], (1, 3, 96, 96)),
    "boxes only": ([(1, 37, 189)], (1, 3, 96, 96)),
    "other prototypes": ([(1, 37, 189), (1, 32, 12, 12)], (1, 3, 96, 96)),
    "twice": ([(1, 37, 189), (1, 37, 189), (1, 32, 24, 24)], (1, 3, 96, 96)),
    "a batch of two": ([(1, 37, 189), (1, 32, 24, 24)], (2, 3, 96, 96)),
    "channels last": ([(1, 37, 189), (1, 32, 24, 24)], (1, 96, 96, 3)),
    "odd sides": ([(1, 37, 189), (1, 32, 24, 24)], (1, 3, 100, 96)),
    "no image": ([(1, 37, 189), (1, 32, 24, 24)], (1, 3)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_networks_are_refused(tmp_path, name):
    shapes, entry = FOREIGN[name]
    nodes = [constant(f"output{i}", np.zeros(shape, np.float32)) for i, shape in enumerate(shapes)]
    outputs = [(f"output{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    path = save(tmp_path / "foreign.onnx", nodes, outputs, [("images", TensorProto.FLOAT, entry)])
    with pytest.raises(CheckpointError) as caught:
        FastSam(path)
    message = str(caught.value)
    wrong_input = entry != (1, 3, 96, 96)
    has = f"({', '.join(str(side) for side in (entry if wrong_input else shapes[0]))})"
    for part in (str(path), has, "expected one", "ultralytics"):
        assert part in message
    assert "\n" not in message


def test_outputs_of_open_shape_are_checked_when_they_come(tmp_path):
    nodes = [
        constant("shape", np.array([1, -1, 8], np.int64)),
        helper.make_node("Reshape", ["images", "shape"], ["output0"]),
        constant("output1", np.zeros((1, 32, 256, 256), np.float32)),
    ]
    outputs = [("output0", TensorProto.FLOAT, (1, "rows", "N")), ("output1", TensorProto.FLOAT, (1, 32, 256, 256))]
    inputs = [("images", TensorProto.FLOAT, (1, 3, "height", "width"))]
    model = FastSam(save(tmp_path / "open.onnx", nodes, outputs, inputs), threads=1)
    with pytest.raises(CheckpointError, match=r"\(1, 393216, 8\)"):
        model.set_image(picture((96, 96)))


def test_a_graph_that_fails_says_so(tmp_path):
    nodes = [
        constant("shape", np.array([1, 37, 5], np.int64)),
        helper.make_node("Reshape", ["images", "shape"], ["output0"]),
        constant("output1", np.zeros((1, 32, 256, 256), np.float32)),
    ]
    outputs = [("output0", TensorProto.FLOAT, (1, 37, 5)), ("output1", TensorProto.FLOAT, (1, 32, 256, 256))]
    inputs = [("images", TensorProto.FLOAT, (1, 3, "height", "width"))]
    model = FastSam(save(tmp_path / "fails.onnx", nodes, outputs, inputs), threads=1)
    with pytest.raises(CheckpointError, match="cannot be run") as caught:
        model.set_image(picture((96, 96)))
    assert "\n" not in str(caught.value)


def test_two_inputs_or_integers_are_refused(tmp_path):
    shapes = [(1, 37, 189), (1, 32, 24, 24)]
    nodes = [constant(f"output{i}", np.zeros(shape, np.float32)) for i, shape in enumerate(shapes)]
    outputs = [(f"output{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    image = ("images", TensorProto.FLOAT, (1, 3, 96, 96))
    for inputs in ([image, ("boxes", TensorProto.FLOAT, (1, 4))], [("images", TensorProto.UINT8, (1, 3, 96, 96))]):
        with pytest.raises(CheckpointError, match="has the inputs tensor"):
            FastSam(save(tmp_path / "foreign.onnx", nodes, outputs, inputs))


def test_half_precision(tmp_path):
    columns = np.zeros((1, 37, 2), np.float16)
    columns[0, :6, 0] = 48, 48, 96, 96, 0.75, 1
    nodes = [
        constant("output0", columns),
        constant("weights", np.ones((32, 3, 4, 4), np.float16)),
        helper.make_node("Conv", ["images", "weights"], ["output1"], strides=[4, 4]),
    ]
    outputs = [("output0", TensorProto.FLOAT16, (1, 37, 2)), ("output1", TensorProto.FLOAT16, (1, 32, 24, 24))]
    path = save(tmp_path / "half.onnx", nodes, outputs, [("images", TensorProto.FLOAT16, (1, 3, 96, 96))])
    model = FastSam(path)
    model.set_image(picture((50, 70)))
    assert [record["area"] for record in model.everything()] == [50 * 70]


@pytest.mark.parametrize("length", [0, 1, 1000, -1, -5000])
def test_damaged_files_are_refused_in_one_line(tmp_path, network, length):
    path = tmp_path / "cut.onnx"
    path.write_bytes(network[0].read_bytes()[:length])
    with pytest.raises(CheckpointError) as caught:
        FastSam(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("not a network\n" * 100)
    for wrong in (path, tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(CheckpointError, match="ultralytics") as caught:
            FastSam(wrong)
        assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_error_says_what_to_install(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'samlet\[onnx\]'"):
        FastSam(network[0])
