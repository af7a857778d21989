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
from samlet.reporting.overlay import draw_masks, draw_prompts

_CELL, _CAPTION = 400, 28


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


def write_sheet(rows: Sequence[Sequence[Cell]], path: Path) -> None:
    """Write rows of pictures, one photograph a row, as PNG."""
    font = ImageFont.load_default(size=18)
    drawn = [_row(row, font) for row in rows]
    size = (max((row.width for row in drawn), default=_CELL), max(1, sum(row.height for row in drawn)))
    sheet, top = Image.new("RGB", size, "white"), 0
    for row in drawn:
        sheet.paste(row, (0, top))
        top += row.height
    with new_file(path) as temporary:
        sheet.save(temporary, format="PNG")


def _row(cells: Sequence[Cell], font: Any) -> Image.Image:
    height, width = cells[0].image.shape[:2]
    height = min(max(round(_CELL * height / width), _CELL // 8), 2 * _CELL)
    row = Image.new("RGB", (_CELL * len(cells), height + _CAPTION), "white")
    draw = ImageDraw.Draw(row)
    for column, cell in enumerate(cells):
        draw.text((column * _CELL + 6, 4), cell.caption, fill="black", font=font)
        picture = draw_prompts(draw_masks(cell.image, [cell.mask]), cell.points)
        picture = ImageOps.contain(picture, (_CELL - 4, height - 4), Image.Resampling.LANCZOS)
        row.paste(picture, (column * _CELL + 2, _CAPTION))
    return row
