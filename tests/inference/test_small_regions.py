"""Small regions, thin pictures, crops: everything mode where it went wrong or slow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

import samlet
from samlet.cli import main
from samlet.data.masks import decode_rle
from samlet.inference.everything import regions
from samlet.inference.everything.regions import remove_small_regions
from tests.conftest import PHOTOS, make_tiny

LOOSE = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "image_size": 64}


def plainly(mask, area):
    """The same on the whole mask, as segment-anything does it."""
    for holes in (True, False):
        labels, count = ndimage.label(mask ^ holes, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        small = [k for k in range(1, count + 1) if sizes[k] < area]
        if not small:
            continue
        if holes:
            mask = mask | np.isin(labels, small)
        else:
            keep = [k for k in range(1, count + 1) if k not in small] or [1 + int(sizes[1:].argmax())]
            mask = np.isin(labels, keep)
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_boxes_answer_what_whole_masks_do(seed):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 1.5) > 0.05
    top, left, bottom, right = rng.integers(0, 15), rng.integers(0, 15), rng.integers(20, 41), rng.integers(20, 51)
    keep = np.zeros_like(mask)
    keep[top if seed % 3 else 0 : bottom, left : right if seed % 2 else 50] = True
    mask &= keep
    for area in (1, 4, 20, 100, 700, 3000):
        assert np.array_equal(remove_small_regions(mask, area), plainly(mask, area)), area


def test_only_the_box_of_a_mask_is_looked_at(monkeypatch):
    seen = []
    label = ndimage.label
    monkeypatch.setattr(
        regions.ndimage, "label", lambda mask, **options: seen.append(mask.size) or label(mask, **options)
    )
    mask = np.zeros((2000, 3000), bool)
    mask[500:540, 700:760] = True
    mask[510, 720] = False
    assert remove_small_regions(mask, 10).sum() == 40 * 60
    assert max(seen) == 42 * 62


def test_an_area_larger_than_all_around_a_mask_is_told(capsys):
    sam = make_tiny()
    found = samlet.MaskGenerator(sam, **LOOSE, min_mask_region_area=10**7)(PHOTOS / "cat.jpg")
    assert len(found) == 1
    assert found[0]["area"] == found.size[0] * found.size[1]
    assert "became the whole picture" in capsys.readouterr().err
    samlet.MaskGenerator(sam, **LOOSE, min_mask_region_area=5)(PHOTOS / "cat.jpg")
    assert "whole picture" not in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(97, 1), (1, 97)])
def test_pictures_one_pixel_wide_keep_no_equal_masks(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    found = samlet.MaskGenerator(make_tiny(), **{**LOOSE, "points_per_side": 8})(image)
    masks = [decode_rle(mask["segmentation"]) for mask in found]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert (a & b).sum() / (a | b).sum() <= 0.75


def test_late_refusals_come_first(tmp_path, monkeypatch):
    from samlet.export import pipeline as procedure
    from tests.conftest import make_repvit

    def run(*_args, **_options):
        raise AssertionError("something was computed")

    monkeypatch.setattr(procedure, "photographs", run)
    for sam, to in ((make_tiny(), "hf"), (make_repvit(), "segment-anything")):
        with pytest.raises(samlet.InputError, match="encoder"):
            procedure.export_model(sam, tmp_path / "out", to)
    with pytest.raises(samlet.InputError, match="multiple of"):
        procedure.export_model(make_tiny(), tmp_path / "out", "onnx", image_size=100)
    monkeypatch.setattr(procedure.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(samlet.InputError, match="not installed"):
        procedure.export_model(make_tiny(), tmp_path / "out", "onnx")


def test_cost_needs_no_weights(monkeypatch, capsys):
    from samlet.cli import cost

    def fail(_):
        raise samlet.SamletError("no network")

    monkeypatch.setattr(cost, "locate", fail)
    monkeypatch.setattr("samlet.evaluation.costs.latency", lambda *_: 0.5)
    assert main(["cost", "edge_sam", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["parameters"] == pytest.approx(9.55e6, rel=1e-2)
    assert "no network" in err
    assert main(["cost", str(PHOTOS), "--json"]) == 1


def test_one_process_unless_more_are_asked_for(tmp_path, monkeypatch):
    from samlet.labelling import workers

    def start(*_args, **_options):
        raise AssertionError("workers were started")

    monkeypatch.setattr(workers, "ProcessPoolExecutor", start)
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: 4)
    from samlet.labelling.folder import label

    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "cat.jpg").write_bytes((PHOTOS / "cat.jpg").read_bytes())
    assert (
        label(make_tiny(), tmp_path / "p", tmp_path / "o", points_per_side=2, image_size=64, progress=False).images == 1
    )
    assert workers.all_cores(make_tiny()) == 4
    assert '__name__ == "__main__"' in workers._DIED
