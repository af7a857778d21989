"""What may be said in several ways: a model by name, segment-anything's argument names, one click as two numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

import samlet
from samlet.data.masks import encode_rle
from tests.conftest import PHOTOS, make_tiny, make_vit

DOGS = PHOTOS / "dogs.jpg"


@pytest.fixture(scope="module")
def predictor():
    found = samlet.Predictor("mobile_sam", image_size=256)
    found.set_image(DOGS)
    return found


def test_segment_anythings_argument_names(predictor):
    ours = predictor.predict(points=[[214, 250]], labels=[1], boxes=[150, 150, 350, 500], multimask=False)
    theirs = predictor.predict(
        point_coords=np.array([[214, 250]]),
        point_labels=np.array([1]),
        box=[150, 150, 350, 500],
        multimask_output=False,
    )
    assert np.array_equal(ours.masks, theirs.masks)
    again = predictor.predict(points=[[214, 250]], masks=ours.low_res[0], multimask=False)
    same = predictor.predict(point_coords=[[214, 250]], mask_input=ours.low_res[0], multimask_output=False)
    assert np.array_equal(again.low_res, same.low_res)
    with pytest.raises(samlet.InputError, match="boxes and box were given together"):
        predictor.predict(boxes=[0, 0, 9, 9], box=[0, 0, 9, 9])


def test_answers_unpack_as_segment_anythings(predictor):
    answer = predictor.predict(points=[214, 250])
    masks, scores, logits = answer
    height, width = answer.image.shape[:2]
    assert (masks.shape, scores.shape, logits.shape) == ((3, height, width), (3,), (3, *answer.low_res.shape[2:]))
    assert np.array_equal(masks, answer.masks[0])
    assert np.array_equal(scores, answer.iou[0])
    best = scores.argmax()
    refined, _, _ = predictor.predict(
        point_coords=np.array([[214, 250]]), mask_input=logits[best][None], multimask_output=False
    )
    assert refined.shape == (1, height, width)
    single, score, _ = answer.best()
    assert np.array_equal(single, masks[best][None])
    assert score == scores[best]
    masks, scores, logits = predictor.predict(points=[[[214, 250]], [[305, 415]]])
    assert (masks.shape, scores.shape, logits.shape[:2]) == ((2, 3, height, width), (2, 3), (2, 3))


def test_one_click_is_two_numbers(predictor):
    one, same = predictor.predict(points=[214, 250]), predictor.predict(points=[[[214, 250]]])
    assert np.array_equal(one.low_res, same.low_res)
    background = predictor.predict(points=[214, 250], labels=0)
    assert not np.array_equal(background.low_res, one.low_res)
    two = predictor.predict(points=[[[214, 250]], [[305, 415]]])
    assert two.masks.shape[:2] == (2, 3)


def test_clicks_on_one_object_or_prompts_of_their_own(predictor, capsys):
    assert predictor.predict(points=[[214, 250], [305, 415]]).masks.shape[0] == 1
    assert "are 2 clicks on one object; for prompts of one click each" in capsys.readouterr().err
    predictor.predict(points=[[214, 251], [305, 415]], labels=[1, 1])
    assert capsys.readouterr().err == ""


def test_what_is_no_model_gets_a_sentence(tmp_path):
    for call in (
        lambda: samlet.Predictor(3),
        lambda: samlet.MaskGenerator([1]),
        lambda: samlet.cost(None),
        lambda: samlet.evaluate(3, PHOTOS, reference="mobile_sam"),
        lambda: samlet.label(3, PHOTOS, tmp_path / "labels"),
    ):
        with pytest.raises(samlet.InputError, match=r"the model is a (int|list|NoneType); expected a model"):
            call()
    with pytest.raises(samlet.InputError, match="'nothing' is no model of the zoo"):
        samlet.Predictor("nothing")


def test_models_and_data_by_name(tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[10:30, 20:40] = image[10:30, 20:40] = 1
    from PIL import Image

    Image.fromarray(image * 255).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(mask)}]}))
    by_name = samlet.evaluate("mobile_sam", tmp_path, "box", image_size=64, progress=False)
    by_hand = samlet.evaluate(
        samlet.load("mobile_sam"), samlet.open_dataset(tmp_path), "box", image_size=64, progress=False
    )
    assert by_name.miou == by_hand.miou
    assert samlet.cost("mobile_sam", measure=False) == samlet.cost(samlet.load("mobile_sam"), measure=False)


def test_a_model_shows_itself_in_a_few_lines():
    for sam in (make_tiny(), make_vit()):
        lines = repr(sam).splitlines()
        assert len(lines) <= 10
        assert sum(map(len, lines)) < 800
        parameters = sum(p.numel() for p in sam.image_encoder.parameters()) / 1e6
        assert f"{parameters:.2f} M parameters" in lines[1]


def test_pictures_of_any_kind():
    import torch
    from PIL import Image

    from samlet.inference.predictor import as_rgb

    expected = as_rgb(DOGS)
    assert np.array_equal(as_rgb(DOGS.read_bytes()), expected)
    assert np.array_equal(as_rgb(Image.open(DOGS)), expected)
    tensor = torch.from_numpy(expected.copy())
    assert np.array_equal(as_rgb(tensor), expected)
    assert np.array_equal(as_rgb(tensor.permute(2, 0, 1)), expected)
    grey = expected[..., 0].copy()
    assert np.array_equal(as_rgb(torch.from_numpy(grey)[None]), np.repeat(grey[..., None], 3, axis=2))
    alpha = np.concatenate([expected, np.zeros_like(expected[..., :1])], axis=2)
    assert np.array_equal(as_rgb(alpha), expected)
    with pytest.raises(samlet.InputError, match="is an address, and samlet fetches none"):
        as_rgb("https://example.org/a.jpg")
    with pytest.raises(samlet.InputError, match="the picture is not an image"):
        as_rgb(b"nothing")
    with pytest.raises(samlet.InputError, match="the image is a set; expected a path, bytes"):
        as_rgb({1})


def test_what_cannot_be_trained_gets_a_sentence():
    for call, what in (
        (lambda: samlet.slim(None, PHOTOS), "the teacher is a NoneType"),
        (lambda: samlet.slim(3, PHOTOS), "the teacher is a int"),
        (lambda: samlet.slim(make_tiny(), PHOTOS, student=3, stage="align", steps=2), "the student is a int"),
        (lambda: samlet.distill(make_tiny(), [1], PHOTOS), r"the student is a list"),
        (lambda: samlet.quantize(None, PHOTOS), "the model is a NoneType"),
    ):
        with pytest.raises(samlet.InputError, match=f"{what}; expected a model of samlet's"):
            call()
