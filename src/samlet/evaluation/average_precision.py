"""Average precision of masks: COCO's by pycocotools, LVIS's by its rules."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samlet.data.coco import coco_entries
from samlet.evaluation.lvis_precision import FIGURES, lvis_precision

_COCO = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")

Detection = dict[str, Any]


def is_lvis(annotations: Path) -> bool:
    """Whether categories say how frequent they are, as LVIS's do."""
    return any("frequency" in entry for entry in coco_entries(annotations, "categories") if isinstance(entry, dict))


def precision(truth: dict[str, Any], entries: list[Detection], images: list[Any], lvis: bool) -> dict[str, float]:
    """AP and its kin of masks, fractions; 0 where there are no masks, -1 where there is nothing to measure.

    Args:
        truth: `samlet.data.coco.read_truth` of a COCO instances JSON, or of LVIS v1's.
        entries: of a results file: `image_id`, `category_id`, `score`, `segmentation` (RLE).
        images: ids of the images that count.
        lvis: LVIS's figures, not COCO's.
    """
    if not entries:
        return dict.fromkeys(FIGURES if lvis else _COCO, 0.0)
    if lvis:
        return lvis_precision(truth, entries, images)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        return _coco_precision(truth, [dict(entry) for entry in entries], images)


def _coco_precision(truth: dict[str, Any], entries: list[Detection], images: list[Any]) -> dict[str, float]:
    known = COCO()
    known.dataset = truth
    known.createIndex()
    judged = COCOeval(known, known.loadRes(entries), "segm")
    judged.params.imgIds = images
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return {name: float(value) for name, value in zip(_COCO, judged.stats, strict=False)}
