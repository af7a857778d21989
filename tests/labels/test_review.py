"""A page to look through labels, of every format, with and without their photographs."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.labelling.review import ORDERS, format_of, review
from samlet.labels import FORMATS, LabelSettings
from tests.conftest import make_tiny
from tests.labels.test_labels import blobs, found

FLAGS = ["--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--image-size", "64"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("a & b", 0), ("c", 1)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)).save(
            folder / f"{name}.png"
        )
    return folder


@pytest.fixture
def labels(photos, tmp_path):
    """Labels of both photographs, two masks and none, in any format."""

    def made(name):
        from samlet.data.sources import Entry

        folder = tmp_path / "labels"
        folder.mkdir()
        writer = FORMATS[name].writer(folder, LabelSettings())
        writer.write(Entry("a & b.png", photos / "a & b.png"), found(blobs(0, share=0.2), blobs(1, share=0.3)))
        writer.write(Entry("c.png", photos / "c.png"), found(blobs(2))[:0] or empty())
        writer.finish()
        return folder

    return made


def empty():
    masks = found(blobs(2))
    masks.clear()
    return masks


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_known_and_drawn(name, labels, photos, tmp_path):
    folder = labels(name)
    assert format_of(folder) == name
    made = review(folder, images=photos, progress=False)
    assert made.page == (tmp_path / "labels-review" / "index.html").resolve()
    assert (made.images, made.missing) == (2, ())
    assert made.masks >= 2 if name == "label-map" else made.masks == 2
    page = made.page.read_text()
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(made.page.parent / picture) as opened:
            assert opened.size == (80, 60)
    assert "a &amp; b.png: 2 masks" in page
    assert "c.png: 0 masks" in page
    assert "1 photographs have no mask" in page
    drawn, plain = (np.asarray(Image.open(made.page.parent / picture)).astype(int) for picture in pictures)
    original = [np.asarray(Image.open(photos / f"{stem}.png")).astype(int) for stem in ("a & b", "c")]
    assert abs(drawn - original[0]).mean() > abs(plain - original[1]).mean() + 5  # only the first has masks


def test_photographs_that_are_missing_are_grey_and_named(labels, photos, tmp_path, capsys):
    folder = labels("jsonl")
    (photos / "c.png").unlink()
    words = ["review", str(folder), "--images", str(photos), "--out", str(tmp_path / "page"), "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["missing"] == ["c.png"]
    assert "1 photographs were not found, the first c.png" in err
    with Image.open(tmp_path / "page" / "pictures" / "000001.jpg") as grey:
        assert np.ptp(np.asarray(grey)) < 8
    shutil.rmtree(photos)
    assert main([*words, "--overwrite"]) == 2
    assert "name their folder (--images)" in capsys.readouterr().err


def test_order_limit_and_overwriting(labels, photos, tmp_path):
    folder = labels("sa1b")
    first = {}
    for order in ORDERS:
        made = review(folder, images=photos, order=order, limit=1, out=tmp_path / order, progress=False)
        first[order] = re.findall(r"<figcaption>([^:]+)", made.page.read_text())
    assert first == {"name": ["a &amp; b.png"], "fewest": ["c.png"], "most": ["a &amp; b.png"]}
    with pytest.raises(samlet.InputError, match="--overwrite"):
        review(folder, images=photos, out=tmp_path / "most", progress=False)
    assert review(folder, images=photos, out=tmp_path / "most", overwrite=True, side=64, progress=False).images == 2
    for wrong in ({"order": "size"}, {"limit": 0}, {"side": 3}):
        with pytest.raises(samlet.InputError, match=next(iter(wrong))):
            review(folder, images=photos, out=tmp_path / "new", **wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(samlet.InputError, match="no label files that samlet knows"):
        review(tmp_path / "empty")


def test_from_label_to_page(photos, tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "m")
    labels = tmp_path / "labels"
    command = ["label", "--teacher", str(tmp_path / "m"), "--images", str(photos), *FLAGS, "--out", str(labels)]
    assert main(command) == 0
    assert main(["review", str(labels), "--images", str(photos)]) == 0
    assert "labels-review/index.html" in capsys.readouterr().out
    one = ["segment", str(photos / "c.png"), "--model", str(tmp_path / "m"), "--everything", *FLAGS]
    assert main([*one, "--format", "coco", "--out", str(tmp_path / "one")]) == 0
    assert main(["review", str(tmp_path / "one"), "--images", str(photos)]) == 2
    assert "its labels are in" in capsys.readouterr().err
    assert main(["review", str(tmp_path / "one" / "labels"), "--images", str(photos)]) == 0
