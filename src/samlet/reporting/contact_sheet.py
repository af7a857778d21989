"""A sheet of pictures: rows of the same photograph with different masks, each under a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from samlet.data.images import RGBImage
from samlet.data.masks import Mask
from samlet.io.writing import new_file
from samlet.reporting.overlay import draw_difference, draw_masks, draw_prompts

_CELL, _CAPTION = 400, 28

DIFFERENCE = "difference of the first and the last mask: pale in both, green in the first alone, red in the last alone"
"""What the last picture of each row shows."""


@dataclass(frozen=True)
class Cell:
    """One picture.

    Attributes:
        caption: over it.
        image: the photograph, (H, W, 3).
        mask: drawn on it, (H, W).
        points: (K, 2) clicks, x before y, pixels.
    """

    caption: str
    image: RGBImage
    mask: Mask
    points: Any


def sheet_of(rows: Sequence[Sequence[Cell]], note: str = "") -> Image.Image:
    """Rows of pictures, one photograph a row, and a line of text under them."""
    font = ImageFont.load_default(size=18)
    drawn = [_row(row, font) for row in rows]
    foot = _CAPTION if note else 0
    size = (max((row.width for row in drawn), default=_CELL), max(1, sum(row.height for row in drawn)) + foot)
    sheet, top = Image.new("RGB", size, "white"), 0
    for row in drawn:
        sheet.paste(row, (0, top))
        top += row.height
    if note:
        ImageDraw.Draw(sheet).text((6, top + 4), note, fill="black", font=ImageFont.load_default(size=15))
    return sheet


def write_sheet(rows: Sequence[Sequence[Cell]], path: Path, note: str = "") -> None:
    """Write the sheet as PNG; see `sheet_of`."""
    with new_file(path) as temporary:
        sheet_of(rows, note).save(temporary, format="PNG")


def _row(cells: Sequence[Cell], font: Any) -> Image.Image:
    height, width = cells[0].image.shape[:2]
    height = min(max(round(_CELL * height / width), _CELL // 8), 2 * _CELL)
    panels = [(cell.caption, draw_masks(cell.image, [cell.mask])) for cell in cells]
    if len(cells) > 1:
        panels.append(("difference", draw_difference(cells[0].image, cells[0].mask, cells[-1].mask)))
    row = Image.new("RGB", (_CELL * len(panels), height + _CAPTION), "white")
    draw = ImageDraw.Draw(row)
    for column, (caption, drawn) in enumerate(panels):
        draw.text((column * _CELL + 6, 4), caption, fill="black", font=font)
        picture = draw_prompts(drawn, cells[0].points)
        picture = ImageOps.contain(picture, (_CELL - 4, height - 4), Image.Resampling.LANCZOS)
        row.paste(picture, (column * _CELL + 2, _CAPTION))
    return row
