"""Everything mode over folders and videos: order, workers, resuming, failures, formats."""

from __future__ import annotations

import json
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.sources import open_source
from samlet.errors import InputError
from samlet.inference.everything.options import EverythingOptions, option_names
from samlet.labelling.batch import segment_source
from samlet.labelling.workers import segment_many
from tests.conftest import PHOTOS

ALONE = {"progress": False, "workers": 1}
SMALL = {"image_size": 128, "points_per_side": 4, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.7}
FLAGS = ["--image-size", "128", "--points-per-side", "4", "--pred-iou-thresh", "0.6", "--stability-score-thresh", "0.7"]


@pytest.fixture(scope="module")
def sam():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for name, source in (("b.jpg", "cat.jpg"), ("a.jpg", "dogs.jpg"), ("sub/c.jpg", "cat.jpg")):
        shutil.copy(PHOTOS / source, folder / name)
    return folder


@pytest.fixture(scope="module")
def with_failure(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("more") / "photos"
    shutil.copytree(photos, folder)
    (folder / "aa.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    frames = [read_image(PHOTOS / "cat.jpg")[:256, 20 * i : 20 * i + 256] for i in range(5)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 256
        for pixels in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def lines(folder):
    return [json.loads(line) for line in (folder / "masks.jsonl").read_text().splitlines()]


def masks_of(folder):
    return {line["image"]: line["masks"] for line in lines(folder)}


def test_workers_and_order_change_nothing(sam, photos):
    entries, threads = list(open_source(photos)), torch.get_num_threads()
    one = {entry.name: answer for entry, answer in segment_many(sam, entries, workers=1, **SMALL)}
    two = [(entry.name, answer) for entry, answer in segment_many(sam, entries[::-1], workers=2, **SMALL)]
    assert torch.get_num_threads() == threads
    assert [name for name, _ in two] == ["sub/c.jpg", "b.jpg", "a.jpg"]
    for name, answer in two:
        assert len(answer) == len(one[name]) > 0
        assert [m["segmentation"] for m in answer] == [m["segmentation"] for m in one[name]]


def test_a_folder_is_written_in_order_with_failures_named(sam, with_failure, tmp_path):
    result = segment_source(sam, open_source(with_failure), tmp_path / "out", overlays=True, **ALONE, **SMALL)
    assert [line["image"] for line in lines(tmp_path / "out")] == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert (result.images, result.continued) == (3, 0)
    assert list(result.failed) == ["aa.jpg"]
    assert "aa.jpg" in json.loads((tmp_path / "out" / "failures.json").read_text())["failed"]
    assert result.masks == sum(len(line["masks"]) for line in lines(tmp_path / "out")) > 0
    for name in ("a.jpg", "sub/c.jpg"):
        with Image.open(tmp_path / "out" / "overlays" / name) as drawn, Image.open(with_failure / name) as photo:
            assert drawn.size == photo.size


def test_a_stopped_run_continues(sam, photos, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    segment_source(sam, open_source(photos), whole, **ALONE, **SMALL)
    shutil.copytree(whole, stopped)
    text = (whole / "masks.jsonl").read_bytes()
    first = text.index(b"\n") + 1
    (stopped / "masks.jsonl").write_bytes(text[: first + 100])  # killed in the middle of the second line
    result = segment_source(sam, open_source(photos), stopped, **ALONE, **SMALL)
    assert (result.images, result.continued) == (3, 1)
    assert masks_of(stopped) == masks_of(whole)
    assert segment_source(sam, open_source(photos), stopped, **ALONE, **SMALL).continued == 3


def test_other_settings_and_other_folders_are_refused(sam, photos, tmp_path):
    out = tmp_path / "out"
    segment_source(sam, open_source(photos), out, **ALONE, **SMALL)
    other = {**SMALL, "pred_iou_thresh": 0.5}
    with pytest.raises(InputError, match=r"other settings \(pred_iou_thresh "):
        segment_source(sam, open_source(photos), out, **ALONE, **other)
    result = segment_source(sam, open_source(photos), out, overwrite=True, **ALONE, **other)
    assert result.continued == 0
    with pytest.raises(InputError, match="already holds"):
        segment_source(sam, open_source(photos), photos, progress=False, overwrite=True, **SMALL)
    assert (photos / "a.jpg").is_file()


def test_sa1b_files_are_read_back_as_training_data(sam, photos, tmp_path):
    result = segment_source(sam, open_source(photos), tmp_path / "out", format="sa1b", **ALONE, **SMALL)
    dataset = open_dataset(tmp_path / "out", photos)
    samples = list(dataset)
    assert dataset.kind == "sa1b"
    assert sum(len(sample.annotations) for sample in samples) == result.masks
    again = segment_source(sam, open_source(photos), tmp_path / "out", format="sa1b", **ALONE, **SMALL)
    assert again.continued == 3


def test_a_video(sam, video, tmp_path):
    out = tmp_path / "out"
    result = segment_source(sam, open_source(video, every=2), out, **ALONE, **SMALL)
    assert [line["image"] for line in lines(out)] == ["frame-000000.png", "frame-000002.png", "frame-000004.png"]
    assert result.masks > 0
    made = segment_source(sam, open_source(video, every=4), tmp_path / "sa1b", format="sa1b", **ALONE, **SMALL)
    assert open_dataset(tmp_path / "sa1b").size == made.images == 2


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.distributed)])
def test_the_command_on_a_folder(workers, photos, tmp_path, capsys):
    arguments = ["segment", str(photos), "--everything", *FLAGS, "--out", str(tmp_path / "out"), "--json"]
    arguments += ["--workers", str(workers)]
    assert main(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 3
    assert content["failed"] == []
    assert content["decoder_prompts"] == 48
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["continued"] == 3


@pytest.mark.parametrize("mode", ["coco_rle", "polygon", "binary_mask"])
def test_the_command_on_an_image(mode, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["segment", str(PHOTOS / "dogs.jpg"), "--everything", "--strategy", "hierarchical", *FLAGS]
    assert main([*arguments, "--output-mode", mode, "--labels", "--out", str(out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((out / "masks.json").read_text())
    assert {"segmentation", "area", "bbox", "predicted_iou", "stability_score", "point_coords"} <= content["masks"][
        0
    ].keys()
    assert 0 < content["decoder_prompts"] <= 16
    with Image.open(out / "overlay.png") as drawn, Image.open(PHOTOS / "dogs.jpg") as photo:
        assert drawn.size == photo.size
    if mode == "binary_mask":
        with Image.open(out / content["masks"][0]["segmentation"]) as mask:
            assert int(np.asarray(mask).sum()) == content["masks"][0]["area"]


def test_a_result_may_be_replaced_whatever_its_format(tmp_path):
    out = tmp_path / "out"
    arguments = ["segment", str(PHOTOS / "cat.jpg"), "--everything", *FLAGS, "--out", str(out)]
    binary = [*arguments, "--output-mode", "binary_mask"]
    assert main(binary) == 0
    assert main(binary) == 2
    assert main([*binary, "--overwrite"]) == 0
    count = len(json.loads((out / "masks.json").read_text())["masks"])
    assert count == len(list((out / "masks").iterdir())) > 0
    assert main([*arguments, "--overwrite"]) == 0
    assert {path.name for path in out.iterdir()} == {"masks.json", "overlay.png"}
    (out / "masks").mkdir()
    (out / "masks" / "thesis.txt").write_text("mine")
    assert main([*arguments, "--overwrite"]) == 2
    assert (out / "masks" / "thesis.txt").read_text() == "mine"


def test_every_option_of_a_call_is_an_option_of_the_command_with_the_same_default():
    options = vars(build_parser().parse_args(["segment", "x.jpg", "--everything", "--out", "o"]))
    for name in set(option_names()) - {"point_grids"}:
        assert options[name] == getattr(EverythingOptions(), name), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cat.jpg", "--everything", "--point", "3,4"], "takes no prompts"),
        (["cat.jpg", "--everything", "--workers", "2"], "--workers is for folders"),
        (["cat.jpg", "--everything", "--points-per-side", "0"], "points_per_side is 0"),
        (["", "--everything", "--workers", "0"], "workers is 0"),
        (["", "--everything", "--output-mode", "binary_mask"], "binary_mask does not fit"),
        (["missing.mp4", "--everything"], "missing.mp4"),
    ],
)
def test_mistakes_are_one_line(arguments, said, tmp_path, capsys):
    place, *rest = arguments
    code = main(["segment", str(PHOTOS / place), *rest, "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
