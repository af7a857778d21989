"""Labels by a teacher: what is written, read back, continued, left out and refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.baselines.fast_sam import FastSam
from samlet.baselines.sam2_onnx import Sam2Onnx
from samlet.cli import main
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.masks import decode_rle, encode_rle, rle_area
from samlet.data.sources import open_source
from samlet.errors import InputError
from samlet.inference.everything.generator import MaskGenerator
from samlet.inference.sam_segmenter import SamSegmenter
from samlet.labelling.batch import segment_source
from samlet.labelling.folder import label
from samlet.labelling.workers import segment_many
from samlet.labels.sa1b import Sa1bFiles
from tests.baselines.test_fast_sam import random_outputs, save_network
from tests.baselines.test_sam2_onnx import save_pair
from tests.conftest import PHOTOS, make_tiny

ALONE = {"progress": False, "workers": 1}
SMALL = {"image_size": 128, "points_per_side": 4, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.7}
FLAGS = ["--image-size", "128", "--points-per-side", "4", "--pred-iou-thresh", "0.6", "--stability-score-thresh", "0.7"]


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sam():
    return samlet.load("mobile_sam")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for name, source in (("a.jpg", "dogs.jpg"), ("b.jpg", "cat.jpg"), ("sub/c.jpg", "cat.jpg")):
        shutil.copy(PHOTOS / source, folder / name)
    return folder


@pytest.fixture(scope="module")
def labelled(sam, photos, tmp_path_factory):
    """An undisturbed run: its folder and its result."""
    out = tmp_path_factory.mktemp("labels") / "out"
    return out, label(sam, photos, out, overlays=True, **ALONE, **SMALL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return save_pair(tmp_path_factory.mktemp("sam2"))


def masks_in(folder):
    """Annotations by file, without what differs between runs."""
    return {
        path.name: json.loads(path.read_text())["annotations"]
        for path in folder.glob("*.json")
        if path.name not in ("run.json", "failures.json")
    }


def interrupted_after(monkeypatch, count):
    """Ctrl-C once so many files are written."""
    write, written = Sa1bFiles.write, []

    def stop(self, entry, masks):
        if len(written) == count:
            raise KeyboardInterrupt
        written.append(entry.name)
        write(self, entry, masks)

    monkeypatch.setattr(Sa1bFiles, "write", stop)


# ---- what is written --------------------------------------------------------------------------------------------


def test_labels_are_the_masks_of_the_generator_and_are_read_back(sam, photos, labelled):
    out, result = labelled
    dataset = open_dataset(out, photos)
    assert (dataset.kind, dataset.size, dataset.annotated, dataset.without_masks) == ("sa1b", 3, True, 0)
    assert (result.images, result.failed) == (3, {})
    assert result.masks == sum(len(sample.annotations) for sample in dataset) > 5
    generate = MaskGenerator(sam, strategy="hierarchical", **SMALL)
    torch.set_num_threads(1)
    wanted = [generate(sample.path) for sample in dataset]
    for sample, masks in zip(dataset, wanted, strict=True):
        assert sample.image().shape[:2] == masks.size
        assert [a.rle for a in sample.annotations] == [mask["segmentation"] for mask in masks]
        assert [list(a.point) for a in sample.annotations] == [mask["point_coords"][0] for mask in masks]
        for mask in json.loads((out / f"{sample.path.stem}.json").read_text())["annotations"]:
            assert mask["predicted_iou"] > 0.6
            assert mask["stability_score"] >= 0.7


def test_overlays_do_not_disturb(sam, photos, labelled, tmp_path):
    out, _ = labelled
    assert {path.name for path in (out / "overlays").rglob("*.jpg")} == {"a.jpg", "b.jpg", "c.jpg"}
    shutil.copytree(out, tmp_path / "plain")
    shutil.rmtree(tmp_path / "plain" / "overlays")
    with_pictures, without = (
        [s.annotations for s in open_dataset(folder, photos)] for folder in (out, tmp_path / "plain")
    )
    assert with_pictures == without
    shutil.copytree(photos, tmp_path / "photos")
    inside = tmp_path / "photos" / "labels"
    with pytest.raises(InputError, match="would be taken for photographs"):
        label(sam, tmp_path / "photos", inside, overlays=True, **ALONE, **SMALL)
    assert not inside.exists()
    assert label(sam, tmp_path / "photos", inside, **ALONE, **SMALL).images == 3


def test_small_masks_are_left_out(sam, photos, labelled, tmp_path):
    least = 0.05
    result = label(sam, photos, tmp_path / "out", min_area=least, **ALONE, **SMALL)
    large = {
        name: [m["segmentation"] for m in masks if m["area"] >= least * np.prod(m["segmentation"]["size"])]
        for name, masks in masks_in(labelled[0]).items()
    }
    found = {name: [m["segmentation"] for m in masks] for name, masks in masks_in(tmp_path / "out").items()}
    assert found == large
    assert 0 < result.masks == sum(map(len, large.values())) < labelled[1].masks


def test_turned_photographs_are_labelled_upright(sam, tmp_path):
    (tmp_path / "photos").mkdir()
    with Image.open(PHOTOS / "cat.jpg") as photo:
        exif = photo.getexif()
        exif[0x0112] = 6  # turn right to view
        photo.save(tmp_path / "photos" / "turned.jpg", exif=exif)
    label(sam, tmp_path / "photos", tmp_path / "out", **ALONE, **SMALL)
    (sample,) = open_dataset(tmp_path / "out", tmp_path / "photos")
    assert read_image(sample.path).shape[:2] == (451, 300)
    assert sample.image().shape[:2] == (451, 300)
    assert {tuple(a.rle["size"]) for a in sample.annotations} == {(451, 300)}


# ---- stopped, continued, corrected ------------------------------------------------------------------------------


def test_a_stopped_run_continues_and_reports_totals(sam, photos, labelled, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupted_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            label(sam, photos, out, **ALONE, **SMALL)
    assert set(masks_in(out)) == {"a.json", "b.json"}
    (out / ".samlet-c.json.tmp").write_text("{ cut")  # what a kill leaves
    result = label(sam, photos, out, **ALONE, **SMALL)
    assert (result.images, result.masks, result.failed) == (3, labelled[1].masks, {})
    assert masks_in(out) == masks_in(labelled[0])
    again = label(sam, photos, out, **ALONE, **SMALL)
    assert (again.images, again.masks) == (result.images, result.masks)


def test_corrected_labels_stay_and_deleted_ones_are_made_again(sam, photos, labelled, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(labelled[0], out)
    content = json.loads((out / "a.json").read_text())
    drawn = np.zeros(content["annotations"][0]["segmentation"]["size"], bool)
    drawn[100:200, 50:80] = True
    content["annotations"] = [content["annotations"][0], {"segmentation": encode_rle(drawn)}]
    (out / "a.json").write_text(json.dumps(content))
    (out / "b.json").unlink()
    result = label(sam, photos, out, **ALONE, **SMALL)
    assert json.loads((out / "a.json").read_text()) == content
    assert masks_in(out)["b.json"] == masks_in(labelled[0])["b.json"]
    assert result.masks == sum(map(len, masks_in(out).values())) < labelled[1].masks
    added = next(iter(open_dataset(out, photos))).annotations[1]
    np.testing.assert_array_equal(decode_rle(added.rle), drawn)
    assert added.box == (50, 100, 80, 200)
    content["annotations"] = []
    (out / "a.json").write_text(json.dumps(content))
    assert label(sam, photos, out, **ALONE, **SMALL).images == 3
    assert next(iter(open_dataset(out, photos))).annotations == ()
    for damaged in ("{", '{"annotations": []}', '{"annotations": [], "image": 3}'):
        (out / "a.json").write_text(damaged)
        with pytest.raises(InputError, match=r"a\.json is damaged"):
            label(sam, photos, out, **ALONE, **SMALL)


def test_unreadable_images_are_named_and_tried_again(sam, photos, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos, folder)
    (folder / "aa.jpg").write_bytes(b"no image")
    result = label(sam, folder, out, **ALONE, **SMALL)
    assert (result.images, list(result.failed)) == (3, ["aa.jpg"])
    assert "aa.jpg" in result.failed["aa.jpg"]
    assert open_dataset(out, folder).without_masks == 1
    shutil.copy(PHOTOS / "dogs.jpg", folder / "aa.jpg")
    result = label(sam, folder, out, **ALONE, **SMALL)
    assert (result.images, result.failed) == (4, {})
    assert not (out / "failures.json").exists()


def test_a_limit_may_be_raised_later(sam, photos, labelled, tmp_path):
    out = tmp_path / "out"
    assert label(sam, photos, out, limit=1, **ALONE, **SMALL).images == 1
    assert set(masks_in(out)) == {"a.json"}
    assert label(sam, photos, out, limit=2, **ALONE, **SMALL).images == 2
    assert label(sam, photos, out, **ALONE, **SMALL).masks == labelled[1].masks
    with pytest.raises(InputError, match="limit is 0"):
        label(sam, photos, tmp_path / "new", limit=0, **ALONE, **SMALL)


# ---- other teachers ---------------------------------------------------------------------------------------------


def test_a_sam_2_pair_is_asked_on_a_grid_of_16(pair, photo_folder, tmp_path):
    photos, model, out = photo_folder, Sam2Onnx(*pair, threads=1), tmp_path / "out"
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    chosen = {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.5}
    result = label(model, photos, out, progress=False, **chosen)
    assert json.loads((out / "run.json").read_text()) == {
        "format": "sa1b",
        "model": model.fingerprint(),
        "strategy": "grid",
        "points_per_side": 16,
        **chosen,
    }
    assert result.masks > 3
    for sample in open_dataset(out, photos):
        model.set_image(sample.image())
        wanted = [mask["segmentation"] for mask in model.everything(points_per_side=16, **chosen)]
        assert [a.rle for a in sample.annotations] == wanted
    with pytest.raises(InputError, match=r"other settings \(points_per_side "):
        label(model, photos, out, points_per_side=8, **ALONE, **chosen)
    with pytest.raises(InputError, match="strategy is hierarchical; expected grid"):
        label(model, photos, tmp_path / "new", strategy="hierarchical", **ALONE)
    with pytest.raises(InputError, match="takes 1024 only"):
        label(model, photos, tmp_path / "new", image_size=512, **ALONE)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="workers is 2; expected 1"):
        label(model, photos, tmp_path / "new", workers=2, progress=False)


def test_fast_sam_takes_no_options_and_its_empty_masks_are_dropped(photos, tmp_path):
    columns, prototypes = random_outputs(0)
    columns[:5, 5] = 50, 50, 0.001, 0.001, 0.99  # too small for a pixel
    model, out = FastSam(save_network(tmp_path / "fast.onnx", columns, prototypes), threads=1), tmp_path / "out"
    result = label(model, photos, out, **ALONE)
    found = masks_in(out)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        model.set_image(read_image(photos / name, upright=False))
        masks = model.everything()
        kept = [mask["segmentation"] for mask in masks if mask["area"]]
        assert 0 < len(kept) < len(masks)
        assert [m["segmentation"] for m in found[f"{name.removeprefix('sub/')[0]}.json"]] == kept
    assert result.masks == sum(map(len, found.values()))
    for option in ({"strategy": "grid"}, {"points_per_side": 8}, {"pred_iou_thresh": 0.88}):
        with pytest.raises(InputError, match=f"everything was given {next(iter(option))}"):
            label(model, photos, tmp_path / "new", **ALONE, **option)
    other = FastSam(model.path, confidence=0.6)
    with pytest.raises(InputError, match=r"other settings \(model "):
        label(other, photos, out, **ALONE)


def test_a_sam_is_asked_hierarchically_with_32_points_a_side(photo_folder, tmp_path):
    for path in sorted(photo_folder.iterdir())[1:]:
        path.unlink()
    label(make_tiny(), photo_folder, tmp_path / "out", **ALONE)
    recipe = json.loads((tmp_path / "out" / "run.json").read_text())
    chosen = {name: recipe[name] for name in ("strategy", "points_per_side", "pred_iou_thresh", "image_size")}
    assert chosen == {"strategy": "hierarchical", "points_per_side": 32, "pred_iou_thresh": 0.88, "image_size": 128}
    assert recipe["stability_score_thresh"] == 0.95
    with pytest.raises(InputError, match="image size 100 is not allowed"):
        label(make_tiny(), photo_folder, tmp_path / "new", image_size=100, **ALONE)
    assert not (tmp_path / "new").exists()


def test_any_segmenter_works_through_many_images_in_this_process(sam, photos, tmp_path):
    options = {name: value for name, value in SMALL.items() if name != "image_size"}
    segmenter = SamSegmenter(sam, 128)
    found = segment_source(segmenter, open_source(photos), tmp_path / "out", progress=False, **options)
    assert (found.images, found.failed) == (3, {})
    with pytest.raises(InputError, match="points_per_side is 0"):
        list(segment_many(segmenter, [], points_per_side=0))


# ---- mistakes ---------------------------------------------------------------------------------------------------


def test_photographs_that_would_share_a_file_are_refused(sam, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        shutil.copy(PHOTOS / "cat.jpg", tmp_path / "photos" / folder / "cat.jpg")
    with pytest.raises(InputError, match=r"one/cat\.jpg and two/cat\.jpg .* would share cat\.json"):
        label(sam, tmp_path / "photos", tmp_path / "out", **ALONE, **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_photograph_may_not_take_the_name_of_the_runs_own_file(sam, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("run.jpg", "fine.jpg"):
        shutil.copy(PHOTOS / "cat.jpg", tmp_path / "photos" / name)
    for _ in range(2):
        result = label(sam, tmp_path / "photos", tmp_path / "out", **ALONE, **SMALL)
        assert (result.images, list(result.failed)) == (1, ["run.jpg"])
        assert "rename it" in result.failed["run.jpg"]


def test_other_folders_and_other_settings_are_refused(sam, photos, labelled, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(labelled[0], out)
    with pytest.raises(InputError, match="already holds"):
        label(sam, photos, photos, **ALONE, **SMALL)
    with pytest.raises(InputError, match=r"other settings \(min_area "):
        label(sam, photos, out, min_area=0.05, **ALONE, **SMALL)
    with pytest.raises(InputError, match="min_area is 1"):
        label(sam, photos, tmp_path / "new", min_area=1, **ALONE, **SMALL)
    with pytest.raises(InputError, match="is not a folder; expected a folder of photographs"):
        label(sam, photos / "a.jpg", tmp_path / "new", **ALONE, **SMALL)
    assert not (tmp_path / "new").exists()
    before = masks_in(out)
    result = label(sam, photos, out, min_area=0.05, overwrite=True, **ALONE, **SMALL)
    assert result.masks < labelled[1].masks
    assert masks_in(out) != before
    assert not (out / "overlays").exists()


# ---- the command ------------------------------------------------------------------------------------------------


def test_the_command(photos, labelled, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = ["label", "--teacher", "mobile_sam", "--images", str(photos), "--out", str(out), *FLAGS]
    arguments += ["--workers", "1", "--json"]
    with monkeypatch.context() as patch:
        interrupted_after(patch, 1)
        assert main(arguments) == 130
    assert set(masks_in(out)) == {"a.json"}
    capsys.readouterr()
    assert main(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"images", "masks", "failed", "passed_over", "sparse", "seconds"}
    assert (content["images"], content["masks"], content["failed"]) == (3, labelled[1].masks, [])
    assert masks_in(out) == masks_in(labelled[0])
    mask = masks_in(out)["a.json"][0]
    assert rle_area(mask["segmentation"]) == mask["area"] == decode_rle(mask["segmentation"]).sum()
    assert main([*arguments, "--min-area", "0.1"]) == 2
    error = capsys.readouterr().err
    assert "other settings (min_area " in error
    assert len(error.strip().splitlines()) == 1


def test_the_command_with_a_sam_2_pair_and_an_unreadable_image(pair, tmp_path, capsys):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no image")
    arguments = ["label", "--teacher", str(pair[0].parent), "--images", str(folder), "--out", str(out)]
    arguments += ["--pred-iou-thresh", "0.7", "--stability-score-thresh", "0.5", "--threads", "1", "--json"]
    assert main(arguments) == 1
    assert "all 1 images failed" in capsys.readouterr().err
    shutil.copy(PHOTOS / "cat.jpg", folder / "cat.jpg")
    assert main([*arguments, "--overlays"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 1
    assert content["masks"] > 0
    assert [entry["image"] for entry in content["failed"]] == ["bad.png"]
    assert "bad.png" in content["failed"][0]["reason"]
    assert (out / "overlays" / "cat.jpg").is_file()
    assert main([*arguments[:-1], "--workers", "2"]) == 2
    assert "workers is 2; expected 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "missing"], "missing is not a folder"),
        (["--images", "{photos}", "--points-per-side", "0"], "points-per-side is 0"),
        (["--images", "{photos}", "--pred-iou-thresh", "2"], "pred_iou_thresh is 2"),
        (["--images", "{photos}", "--min-area", "-1"], "min_area is -1"),
        (["--images", "{photos}", "--limit", "0"], "limit is 0"),
        (["--images", "{photos}", "--workers", "0"], "workers is 0"),
        (["--images", "{photos}", "--threads", "0"], "--threads is 0"),
    ],
)
def test_mistakes_are_one_line(arguments, said, photos, tmp_path, capsys):
    arguments = [part.format(photos=photos) for part in arguments]
    code = main(["label", "--teacher", "mobile_sam", *arguments, "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_the_command_has_help_worth_reading(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    text = capsys.readouterr().out
    for part in ("ID.json", "continues", "corrected", "SAM 2", "--min-area"):
        assert part in text
