"""AP as LVIS defines it: the figures of its own package, and its rules one at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest

import samlet
from samlet.data.masks import encode_rle
from samlet.evaluation.lvis_precision import lvis_precision
from tests.evaluation.lvis_made import FIGURES, SEEDS, make


@pytest.mark.parametrize("seed", SEEDS)
def test_the_figures_are_those_of_the_lvis_package(seed):
    expected = json.loads(FIGURES.read_text())[seed]
    truth, detections, used = make(seed)
    assert lvis_precision(truth, detections, used) == pytest.approx(expected, abs=1e-12)


def test_the_made_data_measures_every_figure():
    figures = json.loads(FIGURES.read_text())
    assert len(figures) == len(SEEDS)
    for name in figures[0]:
        assert any(0.05 < one[name] < 0.95 for one in figures), name
    assert any(one["AP_rare"] == -1 for one in figures)


def scene(lists: dict[str, list[int]] | None = None):
    """One image with one object of category 1, found, and a sure answer elsewhere of category 2."""
    object_, elsewhere = (np.zeros((40, 40), bool) for _ in range(2))
    object_[:10, :10] = True
    elsewhere[20:30, 20:30] = True
    image = {"id": 7, "height": 40, "width": 40, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    truth = {
        "images": [{**image, **(lists or {})}],
        "categories": [{"id": 1, "frequency": "f"}, {"id": 2, "frequency": "r"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "area": 100, "segmentation": encode_rle(object_)},
        ],
    }
    found = [
        {"image_id": 7, "category_id": 1, "score": 0.5, "segmentation": encode_rle(object_)},
        {"image_id": 7, "category_id": 1, "score": 0.9, "segmentation": encode_rle(elsewhere)},
        {"image_id": 7, "category_id": 2, "score": 0.9, "segmentation": encode_rle(elsewhere)},
    ]
    return truth, found


@pytest.mark.parametrize(
    ("lists", "expected"), [({}, 0.5), ({"not_exhaustive_category_ids": [1]}, 1.0), ({"neg_category_ids": [2]}, 0.5)]
)
def test_a_false_mask_counts_where_the_image_is_labelled_for_its_category(lists, expected):
    truth, found = scene(lists)
    figures = lvis_precision(truth, found, [7])
    assert figures["AP"] == figures["AP_frequent"] == figures["AP_small"] == pytest.approx(expected)
    assert figures["AP_rare"] == figures["AP_large"] == -1  # nothing of these is to be found


def test_an_annotation_with_the_id_0_is_matched():
    truth, found = scene()
    truth["annotations"][0]["id"] = 0
    assert lvis_precision(truth, found, [7])["AP50"] == pytest.approx(0.5)


def test_an_image_that_does_not_say_what_it_lacks_is_refused():
    truth, found = scene({"neg_category_ids": None})
    with pytest.raises(samlet.InputError, match=r"image 7 has neg_category_ids None; expected a list"):
        lvis_precision(truth, found, [7])
