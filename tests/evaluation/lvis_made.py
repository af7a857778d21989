"""An LVIS truth and a detector's masks, drawn so that every rule of its AP matters.

`python -m tests.evaluation.lvis_made` writes `lvis_figures.json`, what the package `lvis` (0.5.3) says of them; it
needs that package, which samlet does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from samlet.data.masks import encode_rle

FIGURES = Path(__file__).with_name("lvis_figures.json")
SEEDS = range(6)
_SIZE = 240  # pixels, so that masks are small, medium and large
_THEIRS = {"AP_small": "APs", "AP_medium": "APm", "AP_large": "APl"} | {
    "AP_rare": "APr",
    "AP_common": "APc",
    "AP_frequent": "APf",
}


def make(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]], list[int]]:
    """The truth, the detections, and which images count."""
    source = np.random.default_rng(seed)
    letters = "rcf" if seed != 1 else "cff"  # of seed 1 no category is rare
    categories = [{"id": 3 * k + 2, "frequency": letters[k % 3]} for k in range(7)]
    known = [entry["id"] for entry in categories]
    images, annotations, detections = [], [], []
    for number in source.permutation(9).tolist():
        here, absent, rest = np.split(source.permutation(known), [3, 5])
        unsure = [*here[:1].tolist(), *rest[:1].tolist()]
        images.append(
            {
                "id": number + 20,
                "height": _SIZE,
                "width": _SIZE,
                "neg_category_ids": absent.tolist(),
                "not_exhaustive_category_ids": unsure,
            }
        )
        for category in here.tolist():
            for _ in range(int(source.integers(1, 5))):
                box = _box(source)
                mask = _draw(box)
                annotation = {"id": len(annotations) + 1, "image_id": number + 20, "category_id": category}
                annotation |= {"segmentation": encode_rle(mask), "area": int(mask.sum()), "bbox": box.tolist()}
                annotations.append(annotation)
                if source.random() < 0.1:
                    annotation["ignore"] = 1
                for _ in range(int(source.integers(0, 4))):
                    near = box + source.integers(-6, 7, 4) * (1 + max(box[2:]) // 60)
                    detections.append(_detection(source, number + 20, category, near))
        for category in known:  # also of categories that nobody labelled here
            if source.random() < 0.5:
                detections.append(_detection(source, number + 20, category, _box(source)))
    if seed == 2:  # more detections of one image than count
        detections += [_detection(source, 20, known[k % 7], _box(source)) for k in range(320)]
    used = [image["id"] for image in images if seed != 3 or image["id"] % 2]
    return {"images": images, "annotations": annotations, "categories": categories}, detections, used


def _box(source: np.random.Generator) -> np.ndarray:
    width, height = (2 + source.beta(0.7, 1.2, 2) * 190).astype(int)
    x, y = source.integers(0, _SIZE - width), source.integers(0, _SIZE - height)
    return np.array([x, y, width, height])


def _draw(box: np.ndarray) -> np.ndarray:
    """An ellipse in a box of x, y, width and height."""
    x, y, width, height = box
    down, across = np.mgrid[:_SIZE, :_SIZE] + 0.5
    inside = ((across - x - width / 2) / max(width, 2)) ** 2 + ((down - y - height / 2) / max(height, 2)) ** 2
    mask = inside <= 0.25
    mask[min(max(y, 0), _SIZE - 1), min(max(x, 0), _SIZE - 1)] = True
    return mask


def _detection(source: np.random.Generator, image: int, category: int, box: np.ndarray) -> dict[str, Any]:
    score = round(float(source.random()), 1)  # many equal ones
    return {"image_id": image, "category_id": category, "score": score, "segmentation": encode_rle(_draw(box))}


def main() -> None:
    import copy
    import tempfile

    import lvis

    np.float = float  # which the package expects
    figures = []
    for seed in SEEDS:
        truth, detections, used = make(seed)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "truth.json"
            path.write_text(json.dumps(truth))
            known = lvis.LVIS(str(path))
            judged = lvis.LVISEval(known, lvis.LVISResults(known, copy.deepcopy(detections)), "segm")
        judged.params.img_ids = used
        judged.run()
        results = judged.get_results()
        names = ("AP", "AP50", "AP75", *_THEIRS)
        figures.append({name: float(results[_THEIRS.get(name, name)]) for name in names})
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
