"""Average precision of masks, by pycocotools or, for LVIS, by the lvis package."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samlet.data.coco import coco_entries
from samlet.errors import InputError

_COCO = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
_LVIS = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP_small": "APs",
    "AP_medium": "APm",
    "AP_large": "APl",
    "AP_rare": "APr",
    "AP_common": "APc",
    "AP_frequent": "APf",
}

Detection = dict[str, Any]


def is_lvis(annotations: Path) -> bool:
    """Whether categories say how frequent they are, as LVIS's do."""
    return any("frequency" in entry for entry in coco_entries(annotations, "categories") if isinstance(entry, dict))


def require_lvis() -> Any:
    """The lvis package.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("lvis")
    except ImportError as error:
        raise InputError(f"LVIS is judged by the lvis package: {error}; pip install samlet[lvis]") from error


def precision(truth: dict[str, Any], entries: list[Detection], images: list[Any], lvis: bool) -> dict[str, float]:
    """AP and its kin of masks, fractions; 0 where there are no masks, -1 where there is nothing to measure.

    Args:
        truth: `samlet.data.coco.read_truth` of a COCO instances JSON, or of LVIS v1's.
        entries: of a results file: `image_id`, `category_id`, `score`, `segmentation` (RLE).
        images: ids of the images that count.
        lvis: the lvis package's figures, not pycocotools'.
    """
    if not entries:
        return dict.fromkeys(_LVIS if lvis else _COCO, 0.0)
    with _silence():
        return (_lvis_precision if lvis else _coco_precision)(truth, [dict(entry) for entry in entries], images)


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


def _lvis_precision(truth: dict[str, Any], entries: list[Detection], images: list[Any]) -> dict[str, float]:
    lvis = require_lvis()
    with _float_in_numpy(), tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "truth.json"  # the package reads nothing else
        path.write_text(json.dumps(truth), encoding="utf-8")
        known = lvis.LVIS(str(path))
        judged = lvis.LVISEval(known, lvis.LVISResults(known, entries), "segm")
        judged.params.img_ids = images
        judged.run()
    results: NDArray[np.float64] | dict[str, float] = judged.get_results()
    return {ours: float(results[theirs]) for ours, theirs in _LVIS.items()}  # type: ignore[call-overload]


@contextlib.contextmanager
def _float_in_numpy() -> Iterator[None]:
    """The lvis package, last released in 2020, uses a name that NumPy has dropped since; here it is again."""
    missing = not hasattr(np, "float")
    if missing:
        setattr(np, "float", float)  # noqa: B010 - mypy knows that it is gone
    try:
        yield
    finally:
        if missing:
            delattr(np, "float")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Both packages print."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
