"""Draw docs/hero.jpg: the same clicks and boxes answered by MobileSAM and by samlet_s, with size and time of both.

python scripts/hero_picture.py [--out FILE]

Photographs are the bundled ones, the figures those of benchmarks/results/first_page.json. An answer is the best
of three masks by predicted IoU, as `samlet segment` gives it. The prompts were chosen by hand.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import samlet
from samlet.data.images import read_image
from samlet.reporting.overlay import draw_masks

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "src" / "samlet" / "assets" / "photos"
RESULT = ROOT / "benchmarks" / "results" / "first_page.json"
PICTURE = ROOT / "docs" / "hero.jpg"
SIZE = "1024"  # side of the input, pixels

PANEL = (330, 270)
GAP, SIDE, HEAD = 10, 250, 12
INK, SOFT, BAR, PALE, PROMPT = (26, 32, 44), (97, 104, 117), (193, 65, 12), (203, 213, 224), (40, 200, 90)


@dataclass(frozen=True)
class Shot:
    """One photograph, its prompts, and the part that is shown; everything in pixels of the photograph.

    Attributes:
        name: of the file.
        window: left, top, right, bottom; of the proportions of `PANEL`.
        clicks: each (x, y) is a prompt of its own.
        boxes: each (left, top, right, bottom) is a prompt of its own.
    """

    name: str
    window: tuple[int, int, int, int]
    clicks: tuple[tuple[float, float], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


SHOTS = (
    Shot("dogs.jpg", (60, 160, 460, 487), clicks=((214, 250), (305, 415))),
    Shot("citrus.jpg", (80, 0, 724, 527), boxes=((118, 158, 372, 400), (370, 150, 512, 290), (325, 295, 545, 505))),
    Shot("temple.jpg", (10, 10, 510, 419), boxes=((66, 22, 344, 356),)),
    Shot("bee.jpg", (0, 60, 660, 600), boxes=((60, 135, 395, 490),)),
)


def panel(predictor: samlet.Predictor, shot: Shot) -> Image.Image:
    """The photograph with one mask for each prompt."""
    image = read_image(PHOTOS / shot.name)
    predictor.set_image(image)
    asked = {"points": [[click] for click in shot.clicks]} if shot.clicks else {"boxes": list(shot.boxes)}
    best = predictor.predict(**asked).best()
    drawn = Image.fromarray(draw_masks(image, list(best.masks[:, 0])))
    scale = PANEL[0] / (shot.window[2] - shot.window[0])
    part = drawn.crop(shot.window).resize(PANEL, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(part)

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - shot.window[0]) * scale, (y - shot.window[1]) * scale

    for click in shot.clicks:
        draw.circle(place(*click), 7, fill=PROMPT, outline="white", width=2)
    for left, top, right, bottom in shot.boxes:
        draw.rectangle((*place(left, top), *place(right, bottom)), outline=PROMPT, width=3)
    return part


def bars(draw: ImageDraw.ImageDraw, left: int, top: int, name: str, row: dict[str, Any], full: dict[str, Any]) -> None:
    """Name, and for each of size, work and time a bar in proportion to the larger model's."""
    draw.text((left, top), name, fill=INK, font=ImageFont.load_default(26))
    here, there = row["at"][SIZE], full["at"][SIZE]
    values = (
        ("parameters", row["parameters"] / 1e6, full["parameters"] / 1e6, "{:.1f} M"),
        ("encoder MACs", here["encoder_macs"] / 1e9, there["encoder_macs"] / 1e9, "{:.1f} G"),
        ("encoder, CPU time", 1000 * here["encoder_cpu_s"], 1000 * there["encoder_cpu_s"], "{:.0f} ms"),
    )
    small, width = ImageFont.load_default(17), SIDE - 20
    for index, (title, value, whole, form) in enumerate(values):
        y = top + 52 + 66 * index
        draw.text((left, y), title, fill=SOFT, font=small)
        draw.text((left + width, y), form.format(value), fill=INK, font=small, anchor="ra")
        draw.rounded_rectangle((left, y + 25, left + width, y + 38), 5, fill=PALE)
        draw.rounded_rectangle((left, y + 25, left + round(width * value / whole), y + 38), 5, fill=BAR)


def compose(result: dict[str, Any]) -> Image.Image:
    """Two rows of panels, the larger model above the smaller, figures at the left."""
    rows = result["rows"]
    models = (("MobileSAM", "mobile_sam"), ("samlet_s", "samlet_s"))
    step = (PANEL[0] + GAP, PANEL[1] + GAP)
    size = (SIDE + HEAD + step[0] * len(SHOTS), 2 * HEAD + step[1] * len(models) - GAP)
    canvas = Image.new("RGB", size, "white")
    for line, (title, key) in enumerate(models):
        predictor = samlet.Predictor(samlet.load(key))
        top = HEAD + line * step[1]
        bars(ImageDraw.Draw(canvas), HEAD, top + 8, title, rows[key], rows["mobile_sam"])
        for column, shot in enumerate(SHOTS):
            canvas.paste(panel(predictor, shot), (SIDE + HEAD + column * step[0], top))
    return canvas


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    picture = compose(json.loads(RESULT.read_text(encoding="utf-8")))
    picture.save(options.out, quality=88, optimize=True)
    print(options.out, np.array(picture).shape, options.out.stat().st_size)


if __name__ == "__main__":
    main()
