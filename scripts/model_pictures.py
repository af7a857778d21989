"""The pictures of a model card, on the bundled photographs: everything mode, and where the model fails.

    python scripts/model_pictures.py samlet_s [--weights SAM2] [--out docs/models]

Everything mode stands beside MobileSAM's. Failures: SAM 2 Hiera-T finds everything in each photograph, and its masks
are taken for true ones; the model is asked for each by one click and by its box, and the worst answers are drawn, at
most one of a photograph and prompt. The weights of SAM 2 are looked for in the shared folder.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import samlet
from samlet.data.images import find_images, read_image
from samlet.data.masks import decode_rle, interior_point, mask_iou
from samlet.models import Sam
from samlet.reporting.overlay import draw_difference, draw_masks, draw_prompts
from samlet.zoo import load_weights

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "examples" / "photos"
WEIGHTS = Path(os.environ.get("SAMLET_SHARED", ROOT.parent / "shared")) / "weights" / "sam2_hiera_tiny.fp16.safetensors"
EVERYTHING = ("citrus.jpg", "bridge.jpg")
WIDTH, GAP, TEXT = 420, 8, 26
WORST = 6
SMALLEST = 0.01
"""Share of the photograph below which a mask is not asked for."""


@dataclass(frozen=True)
class Failure:
    """A mask that was asked for, and what came."""

    iou: float
    photo: str
    prompt: str
    picture: Image.Image


def everything(sam: Sam, name: str) -> tuple[Image.Image, str]:
    """All masks of a photograph, and how many there are."""
    image = read_image(PHOTOS / name)
    masks = samlet.MaskGenerator(sam)(image)
    drawn = draw_masks(image, [one["segmentation"] for one in masks])
    return Image.fromarray(drawn), f"{len(masks)} masks"


def failures(sam: Sam, reference: Sam) -> list[Failure]:
    """All that were asked for, the worst first."""
    generate, predictor = samlet.MaskGenerator(reference), samlet.Predictor(sam)
    found = []
    for path in find_images(PHOTOS):
        image = read_image(path)
        predictor.set_image(image)
        for record in generate(image):
            given = record["segmentation"]
            truth = decode_rle(given) if isinstance(given, dict) else given
            if truth.mean() < SMALLEST:
                continue
            x, y, width, height = record["bbox"]
            click, box = interior_point(truth), (x, y, x + width, y + height)
            for prompt, asked in (("click", {"points": [[click]]}), ("box", {"boxes": [box]})):
                mask = predictor.predict(**asked).best().masks[0, 0]
                picture = draw_difference(image, truth, mask)
                points = np.array([click]) if prompt == "click" else None
                boxes = np.array([box]) if prompt == "box" else None
                drawn = draw_prompts(picture, points=points, boxes=boxes)
                found.append(Failure(mask_iou(truth, mask), path.name, prompt, drawn))
    return sorted(found, key=lambda one: one.iou)


def worst(found: list[Failure]) -> list[Failure]:
    """The worst, at most one of a photograph and prompt."""
    chosen: dict[tuple[str, str], Failure] = {}
    for one in found:
        chosen.setdefault((one.photo, one.prompt), one)
    return list(chosen.values())[:WORST]


def sheet(pictures: list[tuple[Image.Image, str]], columns: int) -> Image.Image:
    """Pictures of one width in rows, a line of text below each."""
    cells = []
    for picture, text in pictures:
        size = (WIDTH, round(WIDTH * picture.height / picture.width))
        cells.append((picture.resize(size, Image.Resampling.LANCZOS), text))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(picture.height for picture, _ in row) + TEXT + GAP for row in rows]
    canvas = Image.new("RGB", (columns * (WIDTH + GAP) - GAP, sum(heights)), "white")
    draw, top = ImageDraw.Draw(canvas), 0
    for row, height in zip(rows, heights, strict=True):
        for column, (picture, text) in enumerate(row):
            left = column * (WIDTH + GAP)
            canvas.paste(picture, (left, top))
            draw.text((left, top + picture.height + 3), text, fill=(26, 32, 44), font=ImageFont.load_default(16))
        top += height
    return canvas


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name or a folder")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="of SAM 2 Hiera-T")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "models")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sam, name = load_weights(options.model), Path(options.model).name
    shown = []
    for title, model in (("MobileSAM", load_weights("mobile_sam")), (name, sam)):
        for photo in EVERYTHING:
            picture, text = everything(model, photo)
            shown.append((picture, f"{title}: {text}"))
    sheet(shown, len(EVERYTHING)).save(options.out / f"{name}_everything.jpg", quality=85)
    found = failures(sam, load_weights(options.weights))
    for prompt in ("click", "box"):
        values = [one.iou for one in found if one.prompt == prompt]
        print(f"{prompt}: {len(values)} masks, mean IoU {np.mean(values):.3f}")
    pictures = [(one.picture, f"{one.prompt}: IoU {one.iou:.2f}") for one in worst(found)]
    sheet(pictures, 3).save(options.out / f"{name}_failures.jpg", quality=85)


if __name__ == "__main__":
    main()
