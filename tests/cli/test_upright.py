"""One frame of coordinates: a photograph with an EXIF orientation through every command and every format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.images import Reading, read_image, reading, set_reading
from samlet.data.masks import encode_rle, rle_from_segmentation
from samlet.labels import FORMATS, read_labels
from tests.conftest import make_tiny

UPRIGHT, STORED = (96, 64), (64, 96)  # height, width
FLAGS = ["--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--image-size", "64"]
ORIENTATION = 0x0112


@pytest.fixture(autouse=True)
def _read_as_usual():
    yield
    set_reading(Reading())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    samlet.save(make_tiny(), folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path):
    """A folder with one photograph, stored 96 wide and 64 high, to be turned right by its tag."""
    (tmp_path / "photos").mkdir()
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[::-1], (64, 1)), np.full((64, 96), 90, np.uint8)], axis=2)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(pixels).save(tmp_path / "photos" / "turned.png", exif=exif)
    return tmp_path / "photos"


def run(capsys, *words):
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr()


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_command_and_format_has_the_same_frame(name, stored, model, photos, tmp_path, capsys):
    more = ["--stored-pixels"] if stored else []
    size = STORED if stored else UPRIGHT
    image = photos / "turned.png"
    one = ["segment", image, "--model", model, "--format", name, *more, "--json"]
    clicked = json.loads(run(capsys, *one, "--point", "30,60", "--image-size", "64", "--out", tmp_path / "a").out)
    every = json.loads(run(capsys, *one, "--everything", *FLAGS, "--out", tmp_path / "b").out)
    for answer in (clicked, every):
        assert answer["masks"]
        assert all(tuple(mask["segmentation"]["size"]) == size for mask in answer["masks"])
    folders = {"b": tmp_path / "b" / "labels"}
    run(
        capsys,
        "segment",
        photos,
        "--everything",
        "--model",
        model,
        *FLAGS,
        "--format",
        name,
        *more,
        "--out",
        tmp_path / "c",
    )
    folders["c"] = tmp_path / "c"
    as_dataset = name in ("sa1b", "coco", "label-map")
    if as_dataset:
        words = ["label", "--teacher", model, "--images", photos, *FLAGS, "--format", name, *more]
        run(capsys, *words, "--out", tmp_path / "d")
        folders["d"] = tmp_path / "d"
    if name == "label-map":  # of one image it is one file
        folders.pop("b")
    for folder in folders.values():
        (found,) = read_labels(folder, name)
        assert found.size == size
        assert all(tuple(one.rle["size"]) == size for one in found.objects)
    with Image.open(tmp_path / "a" / "overlay.png") as overlay:
        assert overlay.size == size[::-1]
    set_reading(Reading())
    if as_dataset:  # and read back as a dataset, without being told how it was written
        path = tmp_path / "d" / "instances.json" if name == "coco" else tmp_path / "d"
        (sample,) = open_dataset(path, photos)
        assert sample.image().shape[:2] == size
        words = [
            "evaluate",
            model,
            "--data",
            path,
            "--images",
            photos,
            "--prompt",
            "box",
            "--image-size",
            "64",
            "--json",
        ]
        assert json.loads(run(capsys, *words).out)["images"] == 1


@pytest.mark.parametrize("name", ["yolo", "labelme"])
def test_what_other_programs_open_is_what_the_masks_lie_on(name, model, photos, tmp_path, capsys):
    """They turn photographs by their tag; where masks lie on stored pixels, they get a picture without one."""
    for more, size in (([], UPRIGHT), (["--stored-pixels"], STORED)):
        out = tmp_path / f"out{len(more)}"
        run(capsys, "segment", photos, "--everything", "--model", model, *FLAGS, "--format", name, *more, "--out", out)
        if name == "yolo":
            (picture,) = (out / "images").iterdir()
        else:
            picture = out / json.loads((out / "turned.json").read_text())["imagePath"]
        set_reading(Reading())
        assert read_image(picture).shape[:2] == size


def test_masks_of_other_programs_are_taken_as_their_sides_say(photos, tmp_path):
    mask = np.zeros(STORED, bool)
    mask[10:20, 30:50] = True
    for number, drawn in enumerate((mask, np.rot90(mask, -1))):
        content = {
            "images": [{"id": 1, "file_name": "turned.png", "height": drawn.shape[0], "width": drawn.shape[1]}],
            "annotations": [{"id": 1, "image_id": 1, "segmentation": encode_rle(drawn)}],
        }
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        for stored in (False, True):  # the sides tell, whatever was asked for
            with reading(Reading(stored_pixels=stored)):
                (sample,) = open_dataset(path, photos)
                assert sample.image().shape[:2] == drawn.shape
                assert tuple(sample.annotations[0].rle["size"]) == drawn.shape


def test_where_sides_do_not_tell_it_is_upright_unless_told_otherwise(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 3  # upside down
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:10] = 255
    Image.fromarray(pixels).save(tmp_path / "square.png", exif=exif)
    code = rle_from_segmentation(encode_rle(pixels[..., 0] > 0), 40, 40)
    content = {"image": {"width": 40, "height": 40}, "annotations": [{"id": 0, "segmentation": code}]}
    (tmp_path / "square.json").write_text(json.dumps(content))
    for stored, top in ((False, 0), (True, 255)):
        with reading(Reading(stored_pixels=stored)):
            (sample,) = open_dataset(tmp_path)
            assert int(sample.image()[0, 0, 0]) == top


def test_a_labelling_that_is_continued_keeps_its_frame(model, photos, tmp_path, capsys):
    words = ["label", "--teacher", model, "--images", str(photos), *FLAGS, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main([*words, "--stored-pixels"]) == 2
    assert "stored_pixels" in capsys.readouterr().err
