"""The predictor: shapes, many prompts, many images, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.reporting.overlay import draw_masks, draw_prompts
from tests.conftest import PHOTOS, make_tiny


@pytest.fixture(scope="module")
def predictor():
    predictor = samlet.Predictor(samlet.load("mobile_sam"), image_size=256)
    predictor.set_image(PHOTOS / "cat.jpg")
    return predictor


def test_shapes_and_best(predictor):
    answer = predictor.predict(points=[[225, 150]])
    assert answer.masks.shape == (1, 3, 300, 451)
    assert answer.low_res.shape == (1, 3, 64, 64)
    best = answer.best()
    assert best.masks.shape == (1, 1, 300, 451)
    assert best.iou[0, 0] == answer.iou.max()
    assert (answer.stability >= 0).all()
    assert (answer.stability <= 1).all()
    assert predictor.predict(points=[[225, 150]], multimask=False).masks.shape == (1, 1, 300, 451)


def test_the_cat_is_found(predictor):
    mask = predictor.predict(boxes=[60, 20, 400, 299]).best().masks[0, 0]
    assert mask[150, 225]
    assert 0.2 < mask.mean() < 0.8


def test_many_prompts_equal_each_alone(predictor):
    points = [[[225, 150]], [[20, 20]], [[400, 280]]]
    together = predictor.predict(points=points)
    for i, point in enumerate(points):
        alone = predictor.predict(points=point)
        assert np.allclose(together.low_res[i], alone.low_res[0], atol=1e-3)
        assert np.allclose(together.iou[i], alone.iou[0], atol=1e-4)


def test_prompts_of_differing_lengths(predictor):
    ragged = [np.array([[225, 150], [30, 40], [300, 200]]), np.array([[20, 20]])]
    labels = [np.array([1, 0, 1]), np.array([1])]
    together = predictor.predict(points=ragged, labels=labels)
    for i in range(2):
        alone = predictor.predict(points=ragged[i], labels=labels[i])
        assert np.allclose(together.low_res[i], alone.low_res[0], atol=1e-3)


def test_masks_refine(predictor):
    first = predictor.predict(points=[[225, 150]], multimask=False)
    second = predictor.predict(points=[[225, 150]], masks=first.low_res[0], multimask=False)
    assert second.masks.shape == first.masks.shape
    assert not np.allclose(first.low_res, second.low_res)


def test_many_images_equal_each_alone():
    predictor = samlet.Predictor(make_tiny())
    images = [Image.open(PHOTOS / "cat.jpg"), np.array(Image.open(PHOTOS / "coffee.jpg")), PHOTOS / "bee.jpg"]
    predictor.set_image(images)
    boxes = [[10, 10, 90, 80], [[5, 5, 50, 50], [20, 30, 100, 110]], [0, 0, 60, 70]]
    answers = predictor.predict(boxes=boxes)
    assert [a.masks.shape[0] for a in answers] == [1, 2, 1]
    for image, box, answer in zip(images, boxes, answers, strict=True):
        predictor.set_image(image)
        assert np.array_equal(predictor.predict(boxes=box).masks, answer.masks)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({}, "no prompt"),
        ({"points": []}, "points is empty"),
        ({"boxes": np.zeros((0, 4))}, "boxes is empty"),
        ({"boxes": "everything"}, "cannot be read as numbers"),
        ({"points": [[453, 10]]}, r"point 453,10 lies outside the image, which is 451 wide and 300 high"),
        ({"points": [[10, -2]]}, "outside the image"),
        ({"points": [[float("nan"), 1]]}, "outside the image"),
        ({"points": [[1, 2, 3]]}, r"expected \(K, 2\)"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "one label for each point"),
        ({"points": [[1, 2]], "labels": [3]}, "label 3"),
        ({"labels": [1]}, "without points"),
        ({"boxes": [50, 50, 10, 60]}, "box 50,50,10,60 is empty"),
        ({"boxes": [0, 0, 10]}, r"expected \(P, 4\)"),
        ({"boxes": [[0, 0, 9, 9]] * 2, "points": [[1, 2]]}, "1 points, 2 boxes"),
        ({"masks": np.zeros((1, 9, 9))}, r"\(P, 1, 64, 64\)"),
    ],
)
def test_bad_prompts(predictor, prompt, expected):
    with pytest.raises(samlet.InputError, match=expected):
        predictor.predict(**prompt)


def test_bad_images_and_sizes():
    sam = make_tiny()
    with pytest.raises(samlet.InputError, match="multiple of 16"):
        samlet.Predictor(sam, image_size=100)
    predictor = samlet.Predictor(sam)
    with pytest.raises(samlet.InputError, match="set_image"):
        predictor.predict(points=[[1, 1]])
    with pytest.raises(samlet.InputError, match=r"float64 array of shape \(3, 3, 2\)"):
        predictor.set_image(np.zeros((3, 3, 2)))


def test_overlays_tint_masks_and_nothing_else():
    image = np.full((40, 60, 3), 90, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:30] = True
    drawn = draw_masks(image, [mask])
    assert (drawn[~mask] == 90).all()
    assert (drawn[mask] != 90).any(axis=1).all()
    picture = draw_prompts(drawn, np.array([[50, 20]]), np.array([0]), np.array([[1, 1, 8, 8]]))
    assert picture.getpixel((50, 20))[0] > 200


def test_arrays_images_and_paths_are_read_alike(predictor):
    stored = np.array(Image.open(PHOTOS / "cat.jpg"))
    expected = predictor.embedding
    for same in (Image.open(PHOTOS / "cat.jpg"), stored, stored[:, :, ::-1].copy()[:, :, ::-1]):
        predictor.set_image(same)
        assert np.array_equal(predictor.embedding, expected)
    small = samlet.Predictor(predictor.sam, image_size=64)
    small.set_image(np.zeros((64, 64, 3), np.uint8)[:, ::-1, ::-1])  # no resize needed, negative strides
