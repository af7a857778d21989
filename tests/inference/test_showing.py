"""Answers that show themselves and turn into what other programs take."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import samlet
from samlet.data.images import read_image
from samlet.data.masks import decode_rle, rle_from_segmentation
from tests.conftest import PHOTOS

DOGS = PHOTOS / "dogs.jpg"


@pytest.fixture(scope="module")
def sam():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def answers(sam):
    predictor = samlet.Predictor(sam, image_size=256)
    predictor.set_image(DOGS)
    everything = samlet.MaskGenerator(
        sam, image_size=256, points_per_side=6, pred_iou_thresh=0.5, stability_score_thresh=0.7
    )(DOGS)
    assert len(everything) > 1
    return {
        "clicks": predictor.predict(points=[[[214, 250]], [[305, 415]]], multimask=False),
        "three masks": predictor.predict(points=[214, 250]),
        "box": predictor.predict(boxes=[150, 150, 350, 500], multimask=False),
        "everything": everything,
    }


NAMES = ("clicks", "three masks", "box", "everything")


def masks_of(answer):
    if isinstance(answer, samlet.Prediction):
        return answer.masks.reshape(-1, *answer.masks.shape[2:])
    return np.stack([decode_rle(mask["segmentation"]) for mask in answer])


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_differs_from_the_photograph_where_masks_are(answers, name):
    answer, photograph = answers[name], read_image(DOGS)
    picture = np.asarray(answer.plot())
    changed = (picture != photograph).any(axis=2)
    shown = answer.best().masks if name == "three masks" else masks_of(answer)
    inside = shown.reshape(-1, *photograph.shape[:2]).any(axis=0)
    assert changed[inside].mean() > 0.95
    far = np.ones_like(inside)
    if isinstance(answer, samlet.Prediction):  # prompts are drawn too
        far = ~inside & ~np.pad(inside, 40)[40:-40, 40:-40]
        far[:120] = False
    small = Image.open(io.BytesIO(answer._repr_png_()))
    assert small.format == "PNG"
    assert max(small.size) <= 1024
    assert changed[far & ~inside].mean() < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(answers, name, tmp_path):
    answer = answers[name]
    answer.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "masks.json").read_text())["masks"]
    masks = masks_of(answer)
    assert np.array_equal(np.stack([decode_rle(one["segmentation"]) for one in written]), masks)
    assert [one["area"] for one in written] == [int(mask.sum()) for mask in masks]
    assert (tmp_path / "out" / "overlay.png").is_file()
    with pytest.raises(samlet.InputError, match="already holds"):
        answer.save(tmp_path / "out")
    answer.save(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("name", NAMES)
def test_coco_and_polygons_cover_the_masks(answers, name):
    answer = answers[name]
    masks = masks_of(answer)
    height, width = masks.shape[1:]
    annotations = answer.to_coco(image_id=7, category_id=3, first_id=10)
    assert [a["id"] for a in annotations] == list(range(10, 10 + len(masks)))
    for annotation, mask, polygons in zip(annotations, masks, answer.polygons(), strict=True):
        assert annotation["image_id"] == 7
        assert annotation["category_id"] == 3
        assert coco_mask.area(annotation["segmentation"]) == mask.sum() == annotation["area"]
        if polygons:
            drawn = decode_rle(rle_from_segmentation(polygons, height, width))
            assert np.array_equal(drawn, mask)


def test_short_descriptions(answers):
    assert repr(answers["three masks"]).startswith(
        "Prediction: 1 prompts, 3 masks each, 533 x 800 pixels; predicted IoU"
    )
    assert repr(answers["everything"]).startswith(f"Everything: {len(answers['everything'])} masks, 533 x 800 pixels")
    assert all(len(repr(answer)) < 200 for answer in answers.values())


def test_without_the_photograph_one_is_asked_for(answers):
    sent = pickle.loads(pickle.dumps(answers["everything"]))
    assert list(sent) == list(answers["everything"])
    assert sent._repr_png_() is None
    with pytest.raises(samlet.InputError, match=r"give it: plot\(image\)"):
        sent.plot()
    assert np.array_equal(sent.plot(read_image(DOGS)), answers["everything"].plot())


def test_supervision(answers):
    supervision = pytest.importorskip("supervision")
    for name in NAMES:
        found = answers[name].to_supervision()
        assert isinstance(found, supervision.Detections)
        assert np.array_equal(found.mask, masks_of(answers[name]))
        assert len(found.confidence) == len(found.xyxy) == len(found.mask)
