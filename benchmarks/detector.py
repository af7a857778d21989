"""COCO's AP of mobile_sam's masks in given boxes: TinySAM's zero-shot instance segmentation, at the size of a laptop.

python benchmarks/detector.py [--limit 50] [--write-boxes]

No detector runs here. One set of boxes is the truth's, each with score 1. The other is what a detector might have
found, made from the truth with a seed: every tenth box is missing, edges are shifted, as many boxes again as one a
photograph are false, and scores follow the overlap with the truth. For COCO it is the file
`benchmarks/detections/coco100_train.json`, which --write-boxes makes; for BSDS500 it is made on the spot.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common import RESULTS, ROOT, shared_data, write
from samlet.data.coco import CocoSource
from samlet.data.images import RGBImage
from samlet.evaluation.detector import evaluate_detector
from samlet.inference.sam_segmenter import SamSegmenter
from samlet.models import Sam
from samlet.zoo import load_weights

COMMITTED = ROOT / "benchmarks" / "detections" / "coco100_train.json"
MISSING, SHIFT, FALSE, NOISE, SEED = 0.1, 0.06, 1.0, 0.1, 0
"""Share of boxes that are missing; deviation of an edge, of the box's side; false boxes a photograph; deviation of the
score."""

Boxes = list[dict[str, Any]]


class EncodedOnce(SamSegmenter):
    """Keeps what it encoded, so that two sets of boxes on the same photographs cost one pass of the encoder."""

    def __init__(self, sam: Sam, image_size: int) -> None:
        super().__init__(sam, image_size)
        self._known: dict[bytes, Any] = {}
        self._key = b""

    def set_image(self, image: RGBImage) -> None:
        super().set_image(image)
        self._key = hashlib.sha256(image.tobytes()).digest()

    def encode(self) -> None:
        self._encoded = self._known.get(self._key)
        super().encode()
        self._known[self._key] = self._encoded


def coco(_: Path) -> tuple[Path, Path]:
    """Annotations and images of the COCO set."""
    folder = shared_data() / "data" / "coco100_train"
    return folder / "instances.json", folder / "images"


def bsds(temporary: Path) -> tuple[Path, Path]:
    """Annotations of the BSDS500 set as COCO JSON, all regions of one category, and its images."""
    folder = shared_data() / "data" / "bsds500" / "val"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        image = content["image"]
        images.append({**{key: image[key] for key in ("height", "width", "file_name")}, "id": image["image_id"]})
        for entry in content["annotations"]:
            box = coco_mask.toBbox(entry["segmentation"]).tolist()
            kept = {"segmentation": entry["segmentation"], "area": entry["area"], "bbox": box}
            annotations.append(
                {**kept, "id": len(annotations) + 1, "image_id": image["image_id"], "category_id": 1, "iscrowd": 0}
            )
    written = temporary / "bsds500_val.json"
    categories = [{"id": 1, "name": "region"}]
    written.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return written, folder


DATA = {"coco100_train": coco, "bsds500_val": bsds}


def first(annotations: Path, images: Path, limit: int) -> list[Any]:
    """What the first photographs are called."""
    source = CocoSource(annotations, images, annotated_only=False)
    return [source.sample(i).identity for i in range(min(limit, len(source)))]


def true_boxes(annotations: Path, photographs: list[Any]) -> Boxes:
    """The truth's boxes on some photographs."""
    content = json.loads(annotations.read_text())
    return [
        {**{key: entry[key] for key in ("image_id", "category_id", "bbox")}, "score": 1.0}
        for entry in content["annotations"]
        if entry["image_id"] in photographs and not entry.get("iscrowd")
    ]


def disturbed_boxes(annotations: Path, truth: Boxes) -> Boxes:
    """What a detector might have found."""
    rng = np.random.default_rng(SEED)
    images = {image["id"]: (image["width"], image["height"]) for image in json.loads(annotations.read_text())["images"]}
    categories = sorted({entry["category_id"] for entry in truth})
    found = []
    for entry in truth:
        if rng.random() < MISSING:
            continue
        x, y, w, h = entry["bbox"]
        moved = np.array([x, y, x + w, y + h]) + rng.normal(0, SHIFT, 4) * [w, h, w, h]
        box = _inside(moved, *images[entry["image_id"]])
        overlap = float(coco_mask.iou([box], [entry["bbox"]], [0])[0, 0])
        found.append(_entry(entry["image_id"], entry["category_id"], box, overlap + rng.normal(0, NOISE)))
    for image in dict.fromkeys(entry["image_id"] for entry in truth):
        width, height = images[image]
        for _ in range(rng.poisson(FALSE)):
            corners = rng.random(4) * [width, height, width, height]
            box = _inside(
                np.array([*np.minimum(corners[:2], corners[2:]), *np.maximum(*np.split(corners, 2))]), *images[image]
            )
            found.append(_entry(image, int(rng.choice(categories)), box, rng.uniform(0.1, 0.7)))
    return found


def _inside(corners: np.ndarray, width: int, height: int) -> list[float]:
    """x, y, width, height of corners, inside the image and at least a pixel large."""
    x0, y0 = (min(max(value, 0.0), side - 1.0) for value, side in zip(corners[:2], (width, height), strict=True))
    x1, y1 = (
        min(max(v, start + 1.0), side) for v, start, side in zip(corners[2:], (x0, y0), (width, height), strict=True)
    )
    return [round(float(value), 1) for value in (x0, y0, x1 - x0, y1 - y0)]


def _entry(image: Any, category: int, box: list[float], score: float) -> dict[str, Any]:
    kept = round(float(np.clip(score, 0.01, 0.99)), 3)
    return {"image_id": image, "category_id": category, "bbox": box, "score": kept}


def box_precision(annotations: Path, boxes: Boxes, photographs: list[Any]) -> float:
    """COCO's AP of the boxes themselves."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        judged = COCOeval(truth, truth.loadRes([dict(entry) for entry in boxes]), "bbox")
        judged.params.imgIds = photographs
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])


def boxes_of(name: str, annotations: Path, photographs: list[Any]) -> Iterator[tuple[str, Boxes]]:
    truth = true_boxes(annotations, photographs)
    yield "truth", truth
    if name == "coco100_train" and COMMITTED.is_file():
        committed = json.loads(COMMITTED.read_text())
        yield "disturbed", [entry for entry in committed if entry["image_id"] in photographs]
    else:
        yield "disturbed", disturbed_boxes(annotations, truth)


def write_boxes(limit: int) -> None:
    annotations, images = coco(Path())
    boxes = disturbed_boxes(annotations, true_boxes(annotations, first(annotations, images, limit)))
    COMMITTED.parent.mkdir(exist_ok=True)
    COMMITTED.write_text("[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in boxes) + "\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=50, help="photographs of each set")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--only", choices=DATA, help="only that set")
    parser.add_argument("--write-boxes", action="store_true", help="write the file of disturbed boxes, and no more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.write_boxes:
        write_boxes(options.limit)
        return
    torch.set_num_threads(options.threads)
    sam = load_weights("mobile_sam")
    path = options.out / "detector.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    protocol = (
        f"mobile_sam, protocol box-detector, input {options.image_size}, first {options.limit} photographs of each "
        "set; AP: COCO's, over IoU 0.5 to 0.95; truth: the true boxes with score 1; disturbed: made from the truth, no "
        f"detector ran: {100 * MISSING:.0f} % missing, edges shifted with a deviation of {100 * SHIFT:.0f} % of the "
        f"side, {FALSE:g} false boxes a photograph, scores the overlap with the truth and noise of {NOISE:g}; seed "
        f"{SEED}"
    )
    if content.get("protocol") != protocol:
        content = {"data": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for name, place in DATA.items():
            annotations, images = place(Path(temporary))
            photographs = first(annotations, images, options.limit)
            segmenter = EncodedOnce(sam, options.image_size)
            for kind, boxes in boxes_of(name, annotations, photographs):
                if options.only not in (None, name) or kind in content["data"].get(name, {}):
                    continue
                file = Path(temporary) / f"{kind}.json"
                file.write_text(json.dumps(boxes))
                found = evaluate_detector(segmenter, annotations, file, images, limit=options.limit, progress=False)
                content["data"].setdefault(name, {})[kind] = {
                    "images": found.images,
                    "boxes": found.detections,
                    "box_ap": box_precision(annotations, boxes, photographs),
                    "precision": found.precision,
                }
                write("detector", protocol, content, options.out, quiet=True)
                print(name, kind, json.dumps(content["data"][name][kind]), flush=True)


if __name__ == "__main__":
    main()
