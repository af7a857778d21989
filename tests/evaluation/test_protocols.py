"""Protocols against slow versions of themselves, statistics against their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.masks import Region, decode_rle, encode_rle
from samlet.evaluation import statistics
from samlet.evaluation.clicks import next_click
from samlet.evaluation.detector import evaluate_detector
from samlet.evaluation.lvis_precision import lvis_precision
from samlet.evaluation.miou import evaluate_all
from samlet.inference.sam_segmenter import SamSegmenter
from tests.conftest import PHOTOS

SIZE = 128
OPTIONS = {"points_per_side": 5, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.8}


@pytest.fixture(scope="module")
def sam():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def data(sam, tmp_path_factory):
    """Photographs in SA-1B's layout and as COCO JSON; the masks are what everything mode finds, moved a little."""
    folder = tmp_path_factory.mktemp("sa1b")
    images, annotations = [], []
    generate = samlet.MaskGenerator(sam, image_size=SIZE, **OPTIONS)
    for number, name in enumerate(("cat", "dogs")):
        image = read_image(PHOTOS / f"{name}.jpg")[::3, ::3]
        Image.fromarray(image).save(folder / f"{name}.png")
        masks = [np.roll(decode_rle(m["segmentation"]), 9, axis=1) for m in generate(image)[:5]]
        entries = [{"segmentation": encode_rle(m)} for m in masks if m.any()]
        (folder / f"{name}.json").write_text(json.dumps({"annotations": entries}))
        images.append({"id": number, "file_name": f"{name}.png", "height": image.shape[0], "width": image.shape[1]})
        for mask in masks:
            x, y, w, h = (int(v) for v in coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1 + len(annotations) % 2,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": [x, y, w, h],
                    "segmentation": encode_rle(mask),
                }
            )
    for image in images:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    categories = [{"id": 1, "name": "a", "frequency": "f"}, {"id": 2, "name": "b", "frequency": "c"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "lvis.txt").write_text(json.dumps(content))
    for category in categories:
        del category["frequency"]
    (folder / "coco.txt").write_text(json.dumps(content))
    return folder


def slow_click(truth: np.ndarray, predicted: np.ndarray):
    """The next click by looking at every pixel against every pixel outside."""

    def deepest(mask):
        padded = np.pad(mask, 1)
        outside = np.argwhere(~padded)
        best, place = 0.0, None
        for row, column in np.argwhere(padded):
            depth = np.sqrt(((outside - [row, column]) ** 2).sum(axis=1).min())
            if depth > best:
                best, place = depth, (column - 1, row - 1)
        return best, place

    missed, surplus = deepest(truth & ~predicted), deepest(predicted & ~truth)
    return (*missed[1], 1) if missed[0] > surplus[0] else (*(surplus[1] or (0, 0)), 0)


def test_the_next_click_is_in_the_middle_of_the_largest_error():
    source = np.random.default_rng(0)
    for _ in range(30):
        height, width = source.integers(3, 24, 2)
        truth, predicted = (
            np.kron(source.random((4, 4)) < 0.5, np.ones((6, 6), bool))[:height, :width] for _ in range(2)
        )
        if truth.any():
            assert next_click(Region.of(truth), predicted) == slow_click(truth, predicted)


def test_clicks_are_those_of_a_slow_loop(sam, data):
    dataset = open_dataset(data).head(1)
    (found,) = evaluate_all(sam, dataset, ["point-3"], image_size=SIZE, progress=False)
    sample = next(iter(dataset))
    predictor = samlet.Predictor(sam, SIZE)
    predictor.set_image(sample.image())
    expected = {"single": [], "best": [], "oracle": []}
    for annotation in sample.annotations:
        truth = decode_rle(annotation.rle)
        clicks = [(*annotation.point, 1)]
        for _ in range(2):
            given = np.array(clicks)
            best = predictor.predict(points=given[:, :2], labels=given[:, 2].astype(int)).best().masks[0, 0]
            clicks.append(next_click(Region.of(truth), best))
        given = np.array(clicks)
        three = predictor.predict(points=given[:, :2], labels=given[:, 2].astype(int))
        one = predictor.predict(points=given[:, :2], labels=given[:, 2].astype(int), multimask=False)
        ious = [(m & truth).sum() / (m | truth).sum() for m in three.masks[0]]
        expected["oracle"].append(max(ious))
        expected["best"].append(ious[int(three.iou[0].argmax())])
        expected["single"].append((one.masks[0, 0] & truth).sum() / (one.masks[0, 0] | truth).sum())
    for rule, values in expected.items():
        assert found.values(rule)[0] == pytest.approx(values, abs=2e-3), rule
        assert found.miou[rule] == pytest.approx(np.mean(values), abs=1e-3)


@pytest.mark.parametrize("protocol", ["sa1b-point", "box"])
def test_prompts_are_answered_as_by_the_predictor(sam, data, protocol):
    (found,) = evaluate_all(sam, open_dataset(data), [protocol], image_size=SIZE, progress=False)
    predictor = samlet.Predictor(sam, SIZE)
    for sample, result in zip(open_dataset(data), found.results, strict=True):
        predictor.set_image(sample.image())
        for number, annotation in enumerate(sample.annotations):
            given = {"boxes": annotation.box} if protocol == "box" else {"points": [annotation.point]}
            truth = decode_rle(annotation.rle)
            mask = predictor.predict(**given, multimask=False).masks[0, 0]
            iou = (mask & truth).sum() / (mask | truth).sum()
            assert result.values[protocol]["single"][number] == pytest.approx(iou, abs=2e-3)


def test_everything_finds_what_a_slow_loop_finds(sam, data):
    options = OPTIONS
    (found,) = evaluate_all(
        sam, open_dataset(data), ["everything"], image_size=SIZE, progress=False, everything=options
    )
    best, few = [], []
    for sample in open_dataset(data):
        masks = [
            decode_rle(m["segmentation"]) for m in samlet.MaskGenerator(sam, image_size=SIZE, **options)(sample.image())
        ]
        for annotation in sample.annotations:
            truth = decode_rle(annotation.rle)
            ious = [(m & truth).sum() / (m | truth).sum() for m in masks]
            best.append(max(ious))
            few.append(max(ious[:10]))
    assert found.miou["best"] == pytest.approx(np.mean(best))
    thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert found.recall["10"] == pytest.approx(np.mean([[iou >= t for t in thresholds] for iou in few]))
    assert found.recall["1000"] == pytest.approx(np.mean([[iou >= t for t in thresholds] for iou in best]))


def detections(data):
    content = json.loads((data / "coco.json").read_text())
    source = np.random.default_rng(0)
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": [float(v) + float(source.normal(0, 2)) for v in a["bbox"]],
            "score": float(source.random()),
        }
        for a in content["annotations"]
        for _ in range(2)
    ]


@pytest.mark.parametrize("kind", ["coco", "lvis"])
def test_the_detectors_ap_is_that_of_masks_found_one_by_one(sam, data, kind, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text((data / f"{kind}.txt").read_text())
    (data / "coco.json").write_text((data / "coco.txt").read_text())
    boxes = detections(data)
    (data / "coco.json").unlink()
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    found = evaluate_detector(sam, path, tmp_path / "boxes.json", data, SIZE, progress=False)
    predictor, results = samlet.Predictor(sam, SIZE), []
    files = {image["id"]: image for image in json.loads(path.read_text())["images"]}
    for number, image in files.items():
        predictor.set_image(data / image["file_name"])
        for entry in (b for b in boxes if b["image_id"] == number):
            x, y, w, h = entry["bbox"]
            box = [max(x, 0), max(y, 0), min(x + w, image["width"]), min(y + h, image["height"])]
            mask = predictor.predict(boxes=box).best().masks[0, 0]
            kept = {key: entry[key] for key in ("image_id", "category_id", "score")}
            results.append({**kept, "segmentation": encode_rle(mask)})
    if kind == "coco":
        truth = COCO(str(path))
        judged = COCOeval(truth, truth.loadRes(results), "segm")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        expected = judged.stats[0]
    else:
        expected = lvis_precision(json.loads(path.read_text()), results, list(files))["AP"]
        assert found.precision["best"]["AP_frequent"] >= 0
    assert 0.05 < expected < 1
    assert found.precision["best"]["AP"] == pytest.approx(expected, abs=5e-3)
    assert found.detections == len(boxes)
    assert found.precision["single"]["AP"] > 0


def test_a_model_without_a_single_mask_is_judged_by_its_best(data):
    config = samlet.SamConfig(
        encoder=samlet.ViTConfig.uniform(embed_dim=16, depth=1, num_heads=1, global_blocks=(0,), image_size=64),
        decoder=samlet.models.DecoderConfig(style="efficient_sam"),
        resize="stretch",
    )
    (found,) = evaluate_all(samlet.Sam(config), open_dataset(data), ["box"], progress=False)
    assert found.miou["single"] == found.miou["best"]


def test_intervals_and_differences():
    source = np.random.default_rng(0)
    a = [list(source.random(source.integers(1, 9))) for _ in range(60)]
    same = statistics.paired_difference(a, a, 0)
    assert (same.mean, same.low, same.high, same.real) == (0, 0, 0, False)
    better = [[v + 0.02 + 0.01 * source.random() for v in image] for image in a]
    found = statistics.paired_difference(better, a, 0)
    assert found.real
    assert 0.02 < found.low < found.mean < found.high < 0.03
    low, high = statistics.interval(a, 0)
    assert low < statistics.mean_over_masks(a) < high
    assert statistics.mean_over_images([[1.0], [0.0, 0.0, 0.0]]) == 0.5
    assert statistics.mean_over_masks([[1.0], [0.0, 0.0, 0.0]]) == 0.25
    sizes = statistics.by_size([[0.1, 0.2], [0.3]], [[1023, 1024], [9216]])
    assert sizes == {"small": (1, 0.1), "medium": (1, 0.2), "large": (1, 0.3)}
    with pytest.raises(ValueError, match="same masks"):
        statistics.paired_difference(a, a[1:], 0)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("point-0", "unknown"), ("point-21", "unknown"), ("boxes", "unknown"), ("box-detector", "detector's boxes")],
)
def test_unknown_protocols(sam, data, protocol, said):
    with pytest.raises(samlet.InputError, match=said):
        evaluate_all(sam, open_dataset(data), [protocol])


def test_no_protocol_is_no_evaluation(sam, photo_folder):
    with pytest.raises(samlet.InputError, match="no protocol"):
        evaluate_all(sam, open_dataset(photo_folder), [], reference=sam)


def test_clicks_and_everything_need_true_masks(sam, photo_folder):
    with pytest.raises(samlet.InputError, match="true masks"):
        evaluate_all(sam, open_dataset(photo_folder), ["point-3"], reference=sam)


def test_a_segmenter_answers_mask_prompts(sam, data):
    image = next(iter(open_dataset(data))).image()
    segmenter, predictor = SamSegmenter(sam, SIZE), samlet.Predictor(sam, SIZE)
    segmenter.set_image(image)
    predictor.set_image(image)
    first = predictor.predict(points=[[40, 50]], multimask=False)
    expected = predictor.predict(points=[[40, 50]], masks=first.low_res[:, 0])
    answers = segmenter.answer(points=[[40, 50]], masks=first.low_res[:, 0])
    assert np.allclose(answers.scores[0, 1:], expected.iou[0], atol=1e-4)
    assert (answers.draw(0, [1, 2, 3]) != expected.masks[0]).mean() < 1e-3


@pytest.mark.parametrize("kind", ["coco", "lvis"])
def test_the_detectors_ap_of_a_truth_as_people_have_it(sam, data, kind, tmp_path, capsys):
    (data / "coco.json").write_text((data / "coco.txt").read_text())
    boxes = detections(data)
    (data / "coco.json").unlink()
    (tmp_path / "boxes.json").write_text("\ufeff" + json.dumps(boxes))
    content = json.loads((data / f"{kind}.txt").read_text())
    box = [[10, 10, 40, 10, 40, 30, 10, 30]]
    content["annotations"][0] |= {"segmentation": box, "area": 600, "bbox": [10, 10, 30, 20]}
    (tmp_path / "plain.json").write_text(json.dumps(content))
    content["annotations"][0]["segmentation"] = [box]  # a level deeper
    content["annotations"].append({"id": 999, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81})
    (tmp_path / "garbled.json").write_text("\ufeff" + json.dumps(content))
    ap = [
        evaluate_detector(sam, tmp_path / f"{name}.json", tmp_path / "boxes.json", data, SIZE, progress=False).precision
        for name in ("plain", "garbled")
    ]
    assert ap[0] == ap[1]
    assert "annotation 999: has no segmentation, and a box is no mask" in capsys.readouterr().err
