"""Prompts near the edge of the image."""

from __future__ import annotations

import numpy as np
import pytest

import samlet
from samlet.data.transforms import Frame
from samlet.inference.prompts import make_prompts

FRAME = Frame(height=213, width=320, image_size=320)


def asked(**prompts):
    return make_prompts(FRAME, (16, 16), **prompts)


def test_a_fraction_of_a_pixel_outside_is_moved_inside():
    boxes = asked(boxes=[[-0.3, 20, 250, 213.4], [5, 5, 320.4, 100], [5, 5, 321, 214]]).boxes
    expected = [[0, 20, 250, 213], [5, 5, 320, 100], [5, 5, 320, 213]]
    assert np.allclose(boxes.numpy(), expected)
    points = asked(points=[[320, 120], [-0.4, 213], [319.7, 3]]).points
    assert np.allclose(points.numpy(), [[[319, 120], [0, 212], [319.7, 3]]], atol=1e-4)


@pytest.mark.parametrize("prompt", [{"boxes": [-1.5, 0, 9, 9]}, {"boxes": [0, 0, 322, 9]}, {"boxes": [5, 5, 5, 9]}])
def test_far_outside_is_refused(prompt):
    with pytest.raises(samlet.InputError, match="outside the image"):
        asked(**prompt)
    for point in ([322, 5], [-2, 5], [float("nan"), 5]):
        with pytest.raises(samlet.InputError, match="lies outside"):
            asked(points=[point])


def test_shares_get_a_hint(capsys):
    asked(points=[[0.5, 0.25]])
    asked(boxes=[0.1, 0.2, 0.75, 0.9])
    said = capsys.readouterr().err
    assert "point 0.5,0.25 lies in the first pixel" in said
    assert "coordinates are pixels" in said
    assert "box 0.1,0.2,0.75,0.9" in said
    asked(points=[[1, 0]])
    asked(points=[[0.5, 70]])
    assert not capsys.readouterr().err
