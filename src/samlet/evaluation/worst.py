"""The masks of lowest IoU as a sheet of pictures, each with its prompt, under a legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from samlet.data.annotations import Annotation
from samlet.data.datasets import Dataset
from samlet.data.folders import data_name
from samlet.data.images import RGBImage
from samlet.data.masks import Mask, bounding_box, decode_rle
from samlet.evaluation.miou import Evaluation
from samlet.evaluation.protocols import Kind, find_protocol
from samlet.inference.segmenter import Segmenter
from samlet.io.writing import new_file
from samlet.reporting.overlay import DIFFERENCE_COLOURS, draw_difference

_WORST, _CELL, _CAPTION, _COLUMNS = 12, 320, 22, 4
_LEGEND, _SWATCH, _RADIUS = 58, 14, 6
_PROMPT = (40, 120, 255)
_LEAST_COLUMNS = 3  # that a legend needs in width


def write_worst(found: Evaluation, dataset: Dataset, segmenter: Segmenter, path: Path) -> None:
    """Write the masks of lowest IoU as PNG: what was missed green, what is too much red, and what was asked blue.

    Args:
        found: an evaluation against annotations.
        dataset: what it was measured on.
        segmenter: the model.
        path: of the picture.
    """
    rule, kind = next(iter(found.miou)), find_protocol(found.name).kind
    ranked = sorted(
        (value, result.name, number)
        for result in found.results
        for number, value in enumerate(result.values[found.name][rule])
    )
    chosen: dict[tuple[str, int], float] = {(name, number): value for value, name, number in ranked[:_WORST]}
    wanted = {name for name, _ in chosen}
    cells = []
    for sample in dataset:
        if str(sample.path) not in wanted:
            continue
        image = sample.image()
        segmenter.set_image(image)
        for (name, number), value in chosen.items():
            if name == str(sample.path):
                annotation = sample.annotations[number]
                guess = _answer(segmenter, kind, annotation)
                caption = f"{sample.path.name}, mask {number}: {value:.2f}"
                cells.append((value, _cell(image, annotation, guess, kind, caption)))
    cells.sort(key=lambda cell: cell[0])
    title = (
        f"{data_name(dataset.path)}: the {len(cells)} masks of lowest IoU ({found.name}, {rule}), of {found.masks}. "
        f"{_asked(kind)}"
    )
    with new_file(path) as temporary:
        _sheet([cell for _, cell in cells], title, kind).save(temporary, format="PNG")


def _asked(kind: Kind) -> str:
    if kind == "box":
        return "Asked: the box."
    if kind == "everything":
        return "Nothing was asked."
    return "Asked: the first click, of several." if kind == "clicks" else "Asked: the point."


def _answer(segmenter: Segmenter, kind: Kind, annotation: Annotation) -> Mask | None:
    if kind == "everything":
        return None
    given = [annotation.box] if kind == "box" else [[annotation.point]]
    answers = segmenter.answer(boxes=given) if kind == "box" else segmenter.answer(points=given)
    return answers.draw(0, [int(answers.singles[0])])[0]


def _cell(image: RGBImage, annotation: Annotation, guess: Mask | None, kind: Kind, caption: str) -> Image.Image:
    """The surroundings of a mask, compared with the answer, and the prompt."""
    truth = decode_rle(annotation.rle)
    found = np.zeros_like(truth) if guess is None else guess
    picture = draw_difference(image, truth, found)
    x, y, width, height = bounding_box(truth | found)
    margin = max(width, height) // 3
    top, left = max(y - margin, 0), max(x - margin, 0)
    shown = Image.fromarray(picture[top : y + height + margin, left : x + width + margin])
    scale = _CELL / max(shown.size)
    shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
    draw = ImageDraw.Draw(shown)
    if kind == "box":
        x0, y0, x1, y1 = annotation.box
        corners = [(x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale]
        draw.rectangle(corners, outline=_PROMPT, width=2)
    elif kind != "everything":
        at = (annotation.point[0] - left) * scale, (annotation.point[1] - top) * scale
        draw.circle(at, _RADIUS, fill=_PROMPT, outline="white", width=2)
    cell = Image.new("RGB", (_CELL, _CELL + _CAPTION), "white")
    cell.paste(shown, ((_CELL - shown.width) // 2, _CAPTION + (_CELL - shown.height) // 2))
    ImageDraw.Draw(cell).text((4, 4), caption[-50:], fill="black")
    return cell


def _sheet(cells: Sequence[Image.Image], title: str, kind: Kind) -> Image.Image:
    columns = min(_COLUMNS, max(1, len(cells)))
    rows = -(-max(1, len(cells)) // columns)
    size = max(columns, _LEAST_COLUMNS) * _CELL, _LEGEND + rows * (_CELL + _CAPTION)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    draw.text((8, 6), title, fill="black", font=font)
    names = {"both": "in both", "expected": "missed", "found": "too much"}
    swatches = [(name, DIFFERENCE_COLOURS[key]) for key, name in names.items()]
    if kind == "everything":
        swatches = [("the true mask", DIFFERENCE_COLOURS["expected"])]
    else:
        swatches.append(("the prompt", _PROMPT))
    left = 8
    for name, tint in swatches:
        draw.rectangle((left, 34, left + _SWATCH, 34 + _SWATCH), fill=tint, outline="black")
        draw.text((left + _SWATCH + 6, 32), name, fill="black", font=font)
        left += _SWATCH + 30 + round(draw.textlength(name, font=font))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * _CELL, _LEGEND + number // columns * (_CELL + _CAPTION)))
    return sheet
