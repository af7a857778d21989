"""An evaluation protocol of one's own: a box half as wide and high as the object, in its middle.

SAMLET_PLUGINS=protocol PYTHONPATH=examples/extending samlet evaluate M --data PATH --protocol inner-box
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import samlet
from samlet.evaluation.ground_truth import GroundTruth, Rule
from samlet.evaluation.protocols import Values, overlaps
from samlet.inference.segmenter import Segmenter


@samlet.register_protocol("inner-box", "a box of half the object's width and height, in its middle")
def inner_box(segmenter: Segmenter, truth: GroundTruth, rules: Sequence[Rule], _: dict[str, Any]) -> Values:
    """IoU of every true mask, by rule."""
    x0, y0, x1, y1 = truth.boxes.T
    quarter_x, quarter_y = (x1 - x0) / 4, (y1 - y0) / 4
    boxes = np.stack([x0 + quarter_x, y0 + quarter_y, x1 - quarter_x, y1 - quarter_y], axis=1)
    return overlaps(segmenter.answer(boxes=boxes), {rule: truth.regions[rule] for rule in rules})
