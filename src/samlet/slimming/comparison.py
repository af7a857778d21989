"""The same click answered by the teacher, the raw pruned and the aligned model, as a picture."""

from __future__ import annotations

import numpy as np

from samlet.data.images import RGBImage, read_image
from samlet.data.masks import mask_iou
from samlet.errors import InputError
from samlet.evaluation.ground_truth import grid_points
from samlet.inference import Predictor
from samlet.reporting.contact_sheet import Cell
from samlet.slimming.pipeline import SlimRun

_ROWS = 4
_GRID = 6
_AREA = (0.01, 0.6)  # shares of the image that a mask worth showing covers


def comparison(run: SlimRun) -> list[list[Cell]]:
    """Photographs held out, with the masks of teacher, raw pruned and aligned model for one point, side by side."""
    names = ("teacher", "pruned, raw", "pruned, aligned")
    predictors = [Predictor(sam, run.image_size) for sam in (run.teacher, run.pruned, run.sam)]
    rows: list[list[Cell]] = []
    for path in run.held_out:
        if len(rows) == _ROWS:
            break
        try:
            image = read_image(path)
        except InputError:
            continue
        for predictor in predictors:
            predictor.set_image(image)
        point = _telling_point(predictors[0], image)
        masks = [p.predict(points=point, multimask=False).masks[0, 0] for p in predictors]
        rows.append(
            [
                Cell(f"{name}: IoU {mask_iou(masks[0], mask):.2f}" if column else name, image, mask, point)
                for column, (name, mask) in enumerate(zip(names, masks, strict=True))
            ]
        )
    return rows


def _telling_point(teacher: Predictor, image: RGBImage) -> np.ndarray:
    """The point, (1, 2), of the middle of a grid where the teacher is surest of a mask neither dust nor everything."""
    grid = grid_points(image.shape[0], image.shape[1], _GRID).reshape(_GRID, _GRID, 1, 2)
    points = grid[1:-1, 1:-1].reshape(-1, 1, 2)
    answer = teacher.predict(points=points, multimask=False)
    area = answer.masks[:, 0].mean(axis=(1, 2))
    fits = (area >= _AREA[0]) & (area <= _AREA[1])
    return points[int(np.argmax(answer.iou[:, 0] + fits))]
