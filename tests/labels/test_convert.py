"""Labels in another format: the same masks, classes and scores, fewer of them, and files that hold anything."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.data.masks import decode_rle, encode_rle
from samlet.data.sources import Entry
from samlet.errors import InputError, NothingLeftError
from samlet.labelling.convert import convert_labels
from samlet.labelling.review import review
from samlet.labels import FORMATS, LabelSettings, format_of, read_labels
from tests.labels.test_labels import blobs, found

EXACT = {"tolerance": 0.0}
SIZE = (60, 80)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    for name, seed in (("a & b.png", 0), ("in/c.png", 1)):
        pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def masks():
    """Three of one photograph, of other scores and areas each."""
    three = found(blobs(0, share=0.3), blobs(1, share=0.2), blobs(2, share=0.02))
    for number, record in enumerate(three):
        record |= {"predicted_iou": 0.95 - 0.1 * number, "stability_score": 0.9 + 0.04 * number}
    return three


@pytest.fixture
def labels(photos, tmp_path):
    """Labels of two photographs, three masks and one, in any format."""

    def made(name, **settings):
        folder = tmp_path / f"labels-{name}"
        folder.mkdir()
        writer = FORMATS[name].writer(folder, LabelSettings(**settings))
        writer.write(Entry("a & b.png", photos / "a & b.png"), masks())
        writer.write(Entry("in/c.png", photos / "in" / "c.png"), found(blobs(5)))
        writer.finish()
        return folder

    return made


def said(folder, name):
    """What a folder says: names, sizes, masks, classes."""
    return {
        image.name: (image.size, [(decode_rle(one.rle).tobytes(), one.class_name) for one in image.objects])
        for image in read_labels(folder, name)
    }


def exact(name):
    return EXACT if FORMATS[name].polygons else {}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"label-map", "sa1b"}))
def test_there_and_back_the_masks_are_the_same(name, labels, photos, tmp_path):
    first = labels("sa1b")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    made = convert_labels(first, tmp_path / "there", name, images=photos, progress=False, **exact(name))
    assert (made.images, made.masks, made.source, made.failed) == (2, 4, "sa1b", {})
    assert format_of(tmp_path / "there") == name
    convert_labels(tmp_path / "there", tmp_path / "back", "sa1b", images=photos, progress=False)
    assert said(tmp_path / "back", "sa1b") == said(first, "sa1b")
    assert before == {path.name: path.read_bytes() for path in first.iterdir()}
    if name in ("coco", "jsonl", "png"):
        ours, theirs = (
            [one.scores for image in read_labels(folder, "sa1b") for one in image.objects]
            for folder in (tmp_path / "back", first)
        )
        keys = {"predicted_iou", "stability_score", "point_coords"}
        assert [{key: one[key] for key in keys} for one in ours] == [{key: one[key] for key in keys} for one in theirs]


def test_a_label_map_is_read_and_is_no_photograph(labels, photos, tmp_path):
    first = labels("label-map")
    with pytest.raises(NothingLeftError, match="--images"):
        convert_labels(first, tmp_path / "yolo", "yolo", progress=False)
    assert not (tmp_path / "yolo").exists()
    convert_labels(first, tmp_path / "yolo", "yolo", images=photos, progress=False, **EXACT)
    copied = tmp_path / "yolo" / "images" / "c.png"
    assert copied.read_bytes() == (photos / "in" / "c.png").read_bytes()
    with pytest.raises(InputError, match="were not found"):
        review(first, progress=False)


def test_masks_are_dropped_by_reason(labels, photos, tmp_path, capsys):
    folder = labels("sa1b")
    path = folder / "c.json"
    content = json.loads(path.read_text())
    (drawn,) = content["annotations"]
    content["annotations"] = [{"segmentation": drawn["segmentation"]}]
    content["annotations"].append({"segmentation": encode_rle(np.zeros(SIZE, bool)), "predicted_iou": 1})
    path.write_text(json.dumps(content))
    words = ["convert", str(folder), "--format", "coco", "--images", str(photos), "--out", str(tmp_path / "coco")]
    words += ["--pred-iou-thresh", "0.85", "--stability-score-thresh", "0.92", "--min-area", "0.05", "--json"]
    assert main(words) == 0  # each of the three falls short of something else
    assert json.loads(capsys.readouterr().out)["dropped"] == {
        "empty": 1,
        "area": 1,
        "predicted_iou": 1,
        "stability_score": 1,
    }
    words[words.index("0.92")] = "0.9"
    assert main([*words, "--overwrite"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["dropped"] == {"empty": 1, "area": 1, "predicted_iou": 1, "stability_score": 0}
    assert (content["images"], content["masks"], content["unscored"]) == (2, 2, 1)
    assert "1 masks say no such score and were kept" in err
    assert len(json.loads((tmp_path / "coco" / "instances.json").read_text())["annotations"]) == 2
    with pytest.raises(NothingLeftError, match="1 for empty, 4 for area"):
        convert_labels(folder, tmp_path / "none", "sa1b", min_area=0.9, progress=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["coco", "labelme", "yolo"])
def test_classes_of_people_are_kept(name, labels, photos, tmp_path, capsys):
    first = labels("labelme", class_name="dog")
    path = first / "a & b.json"
    content = json.loads(path.read_text())
    for shape in content["shapes"]:
        shape["label"] = ["dog", "Büro: 1", "ant"][shape["group_id"]]
    path.write_text(json.dumps(content))
    made = convert_labels(first, tmp_path / name, name, images=photos, progress=False, **EXACT)
    assert made.classes == ("Büro: 1", "ant", "dog")
    assert said(tmp_path / name, name) == said(first, "labelme")
    convert_labels(first, tmp_path / "one", name, images=photos, class_name="cell", progress=False, **EXACT)
    assert {c for _, found in said(tmp_path / "one", name).values() for _, c in found} == {"cell"}
    assert main(["convert", str(first), "--format", "png", "--out", str(tmp_path / "png")]) == 0
    assert "png has no classes, and Büro: 1, ant, dog are lost" in capsys.readouterr().err


def test_a_score_that_nothing_has_is_refused(labels, tmp_path):
    for name in ("labelme", "yolo", "label-map"):
        with pytest.raises(InputError, match="says its predicted IoU"):
            convert_labels(labels(name), tmp_path / "out", "sa1b", pred_iou_thresh=0.5, progress=False)
    assert not (tmp_path / "out").exists()


def test_the_folder_is_checked_continued_and_begun_again(labels, photos, tmp_path, monkeypatch):
    first, out = labels("sa1b"), tmp_path / "out"
    writer = FORMATS["coco"].writer
    calls = []

    def stopping(folder, settings):
        made = writer(folder, settings)
        write = made.write

        def once(entry, given):
            if calls:
                raise KeyboardInterrupt
            calls.append(entry.name)
            write(entry, given)

        made.write = once
        return made

    def go(**settings):
        return convert_labels(first, out, "coco", images=photos, progress=False, **settings)

    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, "coco", type(FORMATS["coco"])(**{**vars(FORMATS["coco"]), "writer": stopping}))
        with pytest.raises(KeyboardInterrupt):
            go()
    assert not (out / "instances.json").exists()
    assert (go().images, len(calls)) == (2, 1)
    with pytest.raises(InputError, match=r"other settings \(min_area"):
        go(min_area=0.05)
    content = json.loads((first / "c.json").read_text())
    content["annotations"] = []
    (first / "c.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"other settings \(labels"):
        go()
    (out / "notes.txt").write_text("mine")
    assert go(overwrite=True, min_area=0.05).masks == 2
    assert (out / "notes.txt").read_text() == "mine"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"already holds thesis\.tex"):
        convert_labels(first, tmp_path / "full", "coco", progress=False)
    for target in (first, tmp_path):
        with pytest.raises(InputError, match="they stay as they are"):
            convert_labels(first, target, "coco", overwrite=True, progress=False)


def test_photographs_that_are_missing_or_others_are_named(labels, photos, tmp_path, capsys):
    first = labels("sa1b")
    Image.new("RGB", (50, 50)).save(photos / "in" / "c.png")
    words = ["convert", str(first), "--images", str(photos), "--format", "yolo", "--json", "--out"]
    assert main([*words, str(tmp_path / "one")]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 1
    assert "50 wide and 50 high, and its labels are of 80 x 60" in content["failed"][0]["reason"]
    (photos / "in" / "c.png").unlink()
    made = convert_labels(first, tmp_path / "two", "labelme", images=photos, progress=False)
    assert list(made.failed) == ["in/c.png"]
    assert convert_labels(first, tmp_path / "three", "coco", images=photos, progress=False).images == 2
    with pytest.raises(InputError, match="expected the folder of the photographs"):
        convert_labels(first, tmp_path / "four", "coco", images=photos / "a & b.png", progress=False)


def test_photographs_are_known_by_their_stem(labels, photos, tmp_path):
    first = labels("png")
    (first / "run.images.jsonl").unlink()  # files of another program, which say no more
    convert_labels(first, tmp_path / "out", "sa1b", images=photos, progress=False)
    assert sorted(said(tmp_path / "out", "sa1b")) == ["a & b.png", "in/c.png"]


def sa1b(name, annotations=()):
    return {"image": {"file_name": name, "height": 60, "width": 80}, "annotations": list(annotations)}


MASK = {"segmentation": encode_rle(blobs(0))}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([sa1b("x/..", [MASK])], "named '(x/)?..'"),
        ([sa1b("", [MASK])], "named ''"),
        ([sa1b("a\0b.png", [MASK])], "named 'a"),
        ([sa1b("a/1.png", [MASK]), sa1b("b/1.png", [MASK])], "a/1.png and of b/1.png, which would be one in sa1b"),
        ([sa1b("1.png", [MASK]), sa1b("1.png")], "1.png and of 1.png"),
        ([sa1b("1.png")], "none of the masks .* is left .it has none"),
        ([sa1b("1.png", [{"segmentation": {"size": [2**31, 2**31], "counts": "P1"}}])], "size"),
        ([sa1b("1.png", [3])], "mask 0"),
        ([{"image": [], "annotations": []}], "is damaged"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(contents, message, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{number}.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as error:
        convert_labels(folder, tmp_path / "out", "sa1b", source="sa1b", progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_name_that_leads_elsewhere_takes_nothing_from_there(photos, tmp_path):
    (tmp_path / "in").mkdir()
    secret = tmp_path / "secret.png"
    Image.new("RGB", (80, 60)).save(secret)
    (tmp_path / "in" / "0.json").write_text(json.dumps(sa1b("../secret.png", [MASK])))
    with pytest.raises(NothingLeftError, match=r"secret.png: its photograph was not found"):
        convert_labels(tmp_path / "in", tmp_path / "out", "yolo", images=photos, progress=False)
    convert_labels(tmp_path / "in", tmp_path / "png", "png", progress=False)
    assert (tmp_path / "png" / "secret" / "0.png").is_file()


def test_scores_that_are_none_are_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    spoiled = {"predicted_iou": "high", "stability_score": float("nan"), "point_coords": [[1, "a"]], "crop_box": 3}
    fine = {**MASK, "predicted_iou": 0.9}
    (tmp_path / "in" / "0.json").write_text(json.dumps(sa1b("0.png", [{**MASK, **spoiled}, fine])))
    made = convert_labels(tmp_path / "in", tmp_path / "out", "png", pred_iou_thresh=0.95, progress=False)
    assert (made.masks, made.unscored, made.dropped["predicted_iou"]) == (1, 1, 1)
    (tmp_path / "in" / "run.json").write_text('{"format": ["sa1b"]}')
    assert format_of(tmp_path / "in") == "sa1b"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "cvat"}, "format 'cvat' is unknown"),
        ({"source": "cvat"}, "format 'cvat' is unknown"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh is nan"),
        ({"stability_score_thresh": float("inf")}, "stability_score_thresh is inf"),
        ({"min_area": 1}, "min_area is 1"),
        ({"class_name": "cat"}, "png has no classes"),
        ({"tolerance": 1.0}, "png has no polygons"),
        ({"format": "coco", "class_name": " "}, "the class is ' '"),
    ],
)
def test_settings_that_cannot_be(settings, message, labels, tmp_path):
    with pytest.raises(InputError, match=message):
        convert_labels(labels("sa1b"), tmp_path / "out", **{"format": "png", "progress": False, **settings})
    assert not (tmp_path / "out").exists()


def test_the_command_has_the_options_of_label():
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    assert "convert" in commands.choices
    names = [
        {option for action in commands.choices[one]._actions for option in action.option_strings}
        for one in ("convert", "label")
    ]
    assert names[0] - names[1] == {"--from"}
    assert samlet.convert_labels is convert_labels
