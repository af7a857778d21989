"""Results that show themselves: what a command says and draws, beyond figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.masks import decode_rle, encode_rle, rle_from_segmentation
from samlet.evaluation.worst import _PROMPT
from samlet.inference.everything.dropped import Dropped
from samlet.inference.everything.generator import Everything
from samlet.inference.everything.options import EverythingOptions
from samlet.reporting.contact_sheet import Cell, sheet_of
from samlet.reporting.overlay import DIFFERENCE_COLOURS, draw_difference
from tests.conftest import PHOTOS, make_tiny

GRID = ["--points-per-side", "3", "--image-size", "64"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    sam = make_tiny()
    with torch.no_grad():  # a model that is not sure of itself
        last = sam.mask_decoder.iou_prediction_head.layers[-1]
        last.weight.mul_(1e-3)
        last.bias.fill_(0.6)
    samlet.save(sam, folder)
    return str(folder)


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


# ---- no masks ---------------------------------------------------------------------------------------------------


def test_no_masks_says_which_threshold_to_lower_and_that_helps(model, tmp_path, capsys):
    one = ["segment", PHOTOS / "cat.jpg", "--everything", "--model", model, *GRID]
    out = run(capsys, *one, "--out", tmp_path / "a")
    assert "0 masks from 9 prompts" in out
    assert "lower --pred-iou-thresh (pred_iou_thresh), such as to " in out
    assert "or use the model's own image size, 128 px, in place of 64" in out
    lower = out.partition("such as to ")[2].split(",")[0]
    found = json.loads(
        run(
            capsys, *one, "--pred-iou-thresh", lower, "--stability-score-thresh", "0", "--json", "--out", tmp_path / "b"
        )
    )
    assert found["masks"]
    assert "hint" not in found
    seen = np.any([decode_rle(mask["segmentation"]) for mask in found["masks"]], axis=0)
    assert found["covered"] == seen.mean()
    strict = [*one, "--pred-iou-thresh", "0", "--stability-score-thresh", "1"]
    said = json.loads(run(capsys, *strict, "--json", "--out", tmp_path / "c"))
    assert not said["masks"]
    assert "lower --stability-score-thresh (stability_score_thresh), such as to 0.90" in said["hint"]


def test_of_a_folder_the_first_image_without_masks_is_named_and_all_that_was_passed_over_counted(
    model, tmp_path, capsys
):
    photos = tmp_path / "photos"
    (photos / ".hidden").mkdir(parents=True)
    (photos / "linked").symlink_to(PHOTOS)
    Image.new("RGB", (64, 48)).save(photos / "a.png")
    Image.new("RGB", (64, 48)).save(photos / "b.png")
    (photos / "notes.txt").write_text("no photograph")
    strict = GRID
    out = run(capsys, "segment", photos, "--everything", "--model", model, *strict, "--out", tmp_path / "a")
    assert "2 images, 0 masks, 0 failed, 3 files passed over" in out
    assert "2 images have next to no masks; the first, a.png: " in out
    for name in (".hidden", "linked", "notes.txt"):
        assert name in out
    words = ["label", "--teacher", model, "--images", photos, *strict, "--json", "--out", tmp_path / "b"]
    found = json.loads(run(capsys, *words))
    assert [one["image"] for one in found["sparse"]] == ["a.png", "b.png"]
    assert {one["file"] for one in found["passed_over"]} == {".hidden", "linked", "notes.txt"}


def test_enough_masks_need_no_hint():
    seen = Dropped()
    seen.least_iou = 0.88
    seen.outputs(torch.full((100, 3), 0.5))
    options = EverythingOptions()
    assert seen.hint(options, 30, 100, (1024, 1024)) == ""
    assert "0 of 300 answers have a predicted IoU over 0.88, and the best has 0.50" in seen.hint(
        options, 0, 100, (64, 64)
    )
    assert "such as to 0.49" in seen.hint(options, 0, 1000, (64, 64))
    assert Everything([], 9, 0.1, (4, 5), hint="lower it").__reduce__()[1][-1] == "lower it"


# ---- how masks are written --------------------------------------------------------------------------------------


def test_output_modes_are_for_clicks_and_boxes_too(model, tmp_path, capsys):
    base = ["segment", PHOTOS / "cat.jpg", "--model", model, "--image-size", "64", "--json"]
    for prompt in (["--point", "100,120"], ["--box", "20,20,200,200", "--box", "50,40,120,180"]):
        answers = {}
        for mode in ("coco_rle", "polygon", "binary_mask"):
            out = tmp_path / f"{mode}{len(prompt)}"
            masks = json.loads(run(capsys, *base, *prompt, "--output-mode", mode, "--out", out))["masks"]
            assert json.loads((out / "masks.json").read_text())["masks"] == masks
            size = masks_size(out)
            answers[mode] = [as_array(mask["segmentation"], size, out) for mask in masks]
        assert len(answers["polygon"]) == len(answers["binary_mask"]) == len(answers["coco_rle"]) > 0
        for exact, polygon, picture in zip(*answers.values(), strict=True):
            assert (exact == polygon).all()
            assert (exact == picture).all()


def masks_size(out):
    with Image.open(out / "overlay.png") as picture:
        return picture.height, picture.width


def as_array(segmentation, size, folder):
    if isinstance(segmentation, str):
        return np.asarray(Image.open(folder / segmentation)) > 0
    return decode_rle(rle_from_segmentation(segmentation, *size)).astype(bool)


# ---- pictures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "berries"
    folder.mkdir()
    mask = np.zeros((60, 80), bool)
    mask[20:45, 30:60] = True
    Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(folder / "a.png")
    content = {"annotations": [{"segmentation": encode_rle(mask), "point_coords": [[40, 30]]}]}
    (folder / "a.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("protocol", ["sa1b-point", "box", "point-2", "everything"])
def test_the_worst_are_drawn_with_prompt_and_legend(protocol, model, data, tmp_path, capsys):
    words = ["evaluate", model, "--data", data, "--protocol", protocol, "--image-size", "64", "--points-per-side", "2"]
    assert "worst.png" in run(capsys, *words, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "worst.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    legend, cells = pixels[:58], pixels[58:]
    assert (legend < 100).any()  # there is text

    def there(part, tint):
        return bool((part == np.array(tint)).all(axis=-1).any())

    assert there(legend, DIFFERENCE_COLOURS["expected"])
    assert there(legend, _PROMPT) == there(cells, _PROMPT) == (protocol != "everything")


def test_a_comparison_ends_with_the_difference():
    image = np.full((40, 60, 3), 100, np.uint8)
    first, last = np.zeros((2, 40, 60), bool)
    first[10:30, 10:40], last[10:30, 20:50] = True, True
    sheet = sheet_of([[Cell("teacher", image, first, [[15, 15]]), Cell("student", image, last, [[15, 15]])]], "berries")
    assert sheet.width == 3 * 400
    drawn = draw_difference(image, first, last)
    for place, name in (((15, 30), "both"), ((15, 12), "expected"), ((15, 45), "found")):
        assert drawn[place].tolist() == [int(0.5 * 100 + 0.5 * value) for value in DIFFERENCE_COLOURS[name]]
    assert drawn[5, 5].tolist() == [100, 100, 100]
    assert sheet.height > sheet_of([[Cell("teacher", image, first, [[15, 15]])]]).height  # the note under it


# ---- like with like ---------------------------------------------------------------------------------------------


def test_tables_say_how_weights_are_stored(model, data, tmp_path, capsys):
    assert main(["save", model, "--store", "int8", "--out", str(tmp_path / "int8")]) == 0
    capsys.readouterr()
    words = [
        "compare",
        model,
        tmp_path / "int8",
        "--data",
        data,
        "--image-size",
        "64",
        "--no-measure",
        "--protocol",
        "box",
    ]
    found = json.loads(run(capsys, *words, "--json"))["rows"]
    assert [row["file_storage"] for row in found] == ["float32", "int8"]
    assert found[0]["file_bytes"] > found[1]["file_bytes"]
    assert found[0]["weights_bytes"] == found[1]["weights_bytes"]
    text = run(capsys, *words)
    assert "AS FLOAT32" in text
    assert "MB, int8" in text
