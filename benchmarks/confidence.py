"""How sure models are of their masks: why a small one finds less in everything mode.

python benchmarks/confidence.py [--photographs NAME …] [--points N]

The same grid of clicks for every model. Predicted IoU and stability of all three masks of each; how many pass
thresholds; and, of each mask, the IoU with the teacher's at 1024 px for the same click, which says whether a low
prediction is deserved. `samlet_s` is the small model, `mobile_sam` its teacher.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import samlet
from common import write
from samlet.data.bundled import bundled_photographs
from samlet.data.images import read_image

TEACHER, STUDENT = "mobile_sam", "samlet_s"
SOURCES = {TEACHER: "mobile_sam", STUDENT: "samlet_s"}
SIZES = (512, 1024)
THRESHOLDS = {"sure": (1.0, 0.95), "likely": (0.9, 0.9), "any": (0.75, 0.8)}
"""Of the page: share of the published predicted IoU, and stability."""
PUBLISHED = 0.88
QUANTILES = (0.1, 0.5, 0.9)
_TOGETHER = 32
_SMALL = 0.001  # share of the photograph: an IoU of specks says nothing


def answers(model: Any, size: int, path: Path, side: int) -> dict[str, NDArray[Any]]:
    """Predicted IoU, stability (clicks, 3) and masks (clicks, 3, H / 2, W / 2) of a grid of clicks."""
    predictor = samlet.Predictor(model, size)
    predictor.set_image(path)
    height, width = read_image(path).shape[:2]
    places = (np.arange(side) + 0.5) / side
    clicks = [[[x * width, y * height]] for y in places for x in places]
    found = [
        predictor.predict(np.array(clicks[at : at + _TOGETHER]), multimask=True)
        for at in range(0, len(clicks), _TOGETHER)
    ]
    return {
        "iou": np.concatenate([one.iou for one in found]),
        "stability": np.concatenate([one.stability for one in found]),
        "masks": np.concatenate([one.masks[..., ::2, ::2] for one in found]),
    }


def agreement(masks: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """The best IoU of each mask (clicks, 3) with one of the three of the teacher's for the same click."""
    a, b = masks.reshape(*masks.shape[:2], -1), truth.reshape(*truth.shape[:2], -1)
    values = np.zeros(masks.shape[:2])
    for click in range(len(a)):
        inner = a[click].astype(np.float32) @ b[click].astype(np.float32).T
        outer = a[click].sum(1)[:, None] + b[click].sum(1)[None] - inner
        values[click] = (inner / np.maximum(outer, 1)).max(1)
    return values


def row(name: str, size: int, given: list[dict[str, NDArray[Any]]], truth: list[NDArray[Any]]) -> dict[str, Any]:
    """What the table says of a model at a size."""
    iou, stability = (np.concatenate([one[key].ravel() for one in given]) for key in ("iou", "stability"))
    area = np.concatenate([one["masks"].mean((2, 3)).ravel() for one in given])
    agreed = np.concatenate([agreement(one["masks"], own).ravel() for one, own in zip(given, truth, strict=True)])
    real = area > _SMALL
    return {
        "model": name,
        "size": size,
        "masks": int(iou.size),
        "predicted_iou": [float(value) for value in np.quantile(iou, QUANTILES)],
        "stability": [float(value) for value in np.quantile(stability, QUANTILES)],
        "pass": {
            key: int(((iou > share * PUBLISHED) & (stability >= least)).sum())
            for key, (share, least) in THRESHOLDS.items()
        },
        "above_published_iou": float((iou > PUBLISHED).mean()),
        "agreement_mean": float(agreed[real].mean()),
        "agreement_of_sure": _mean(agreed[(iou > PUBLISHED) & (stability >= 0.95) & real]),
        "agreement_of_likely": _mean(agreed[(iou > 0.9 * PUBLISHED) & (stability >= 0.9) & real]),
    }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", nargs="*", default=["coffee", "dogs"], metavar="NAME", help="bundled ones")
    parser.add_argument("--points", type=int, default=16, metavar="N", help="on a side of the grid")
    options = parser.parse_args()
    paths = [path for path in bundled_photographs() if path.stem in options.photographs]
    models = {name: samlet.load(source) for name, source in SOURCES.items()}
    with torch.inference_mode():
        truth = [answers(models[TEACHER], max(SIZES), path, options.points)["masks"] for path in paths]
        rows = []
        for name, model in models.items():
            for size in SIZES:
                given = [answers(model, size, path, options.points) for path in paths]
                rows.append(row(name, size, given, truth))
    write(
        "confidence",
        f"{options.points}x{options.points} clicks on each of {', '.join(path.stem for path in paths)} (bundled), all "
        f"three masks of a click; quantiles {', '.join(str(value) for value in QUANTILES)}; sure, likely, any: "
        f"predicted IoU above {', '.join(f'{share:g}' for share, _ in THRESHOLDS.values())} of {PUBLISHED} and "
        f"stability of at least {', '.join(f'{least:g}' for _, least in THRESHOLDS.values())}; agreement: IoU "
        f"with the nearest of {TEACHER}'s three masks at {max(SIZES)} px for the same click, of masks over "
        f"{_SMALL:.1%} of the photograph",
        {"rows": rows},
    )


if __name__ == "__main__":
    main()
