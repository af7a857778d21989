"""`samlet segment`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samlet.cli import label_files, segment_everything
from samlet.cli.common import columns, load_to_run, mask_rows, set_up, show
from samlet.data.images import read_image
from samlet.data.masks import Mask
from samlet.data.polygons import to_polygons
from samlet.errors import InputError
from samlet.inference import Predictor
from samlet.inference.everything.generator import Everything
from samlet.io.writing import RESULT_FILES, check_output, new_folder, write_json
from samlet.labels.label_map import label_map, write_label_map
from samlet.reporting.overlay import draw_masks, draw_prompts


def _numbers(text: str, option: str, form: str, counts: tuple[int, ...]) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts:
        raise InputError(f"{option} {text} cannot be read; expected {form}, numbers in pixels of the image")
    return values


_USUAL = "samlet_s"
"""The model that is used if none is named: a third of MobileSAM's work, and as good as it on most photographs."""


def run(options: argparse.Namespace) -> None:
    """Segment one image into a new folder."""
    if options.model is None:
        options.model = _USUAL
    if options.everything:
        if options.point or options.box:
            raise InputError("--everything takes no prompts; leave out --point and --box, or --everything")
        segment_everything.run(options)
        return
    clicks = [_numbers(text, "--point", "X,Y or X,Y,0 or X,Y,1", (2, 3)) for text in options.point]
    boxes = [_numbers(text, "--box", "X0,Y0,X1,Y1", (4,)) for text in options.box]
    if not clicks and not boxes:
        raise InputError("no prompt was given; expected --point X,Y, --box X0,Y0,X1,Y1 or --everything")
    if clicks and len(boxes) > 1:
        raise InputError(
            f"{len(clicks)} points and {len(boxes)} boxes were given together; points refine exactly one box, so give "
            "one box, or the points alone"
        )
    if options.image.is_dir():
        raise InputError(
            f"{options.image} is a folder; expected one image for a point or box (--everything takes folders)"
        )
    labelled = label_files.asked(options)
    check_output(options.out, RESULT_FILES, options.overwrite)
    image = read_image(options.image)
    device = set_up(options)
    start = time.perf_counter()
    predictor = Predictor(load_to_run(options.model, device), options.image_size)
    predictor.set_image(image)
    points = np.array([click[:2] for click in clicks], np.float32) if clicks else None
    labels = np.array([click[2] if len(click) > 2 else 1 for click in clicks]) if clicks else None
    # As the published graphs do: one click or one box is ambiguous, so three masks are looked at; more say enough.
    ambiguous = not clicks or (len(clicks) == 1 and not boxes)
    answer = predictor.predict(
        points=points, labels=labels, boxes=boxes or None, multimask=ambiguous or options.multimask
    )
    if not options.multimask:
        answer = answer.best()
    masks = [{**record, "point_coords": [click[:2] for click in clicks]} for record in answer.records()]
    codes = [mask["segmentation"] for mask in masks]
    seconds = time.perf_counter() - start
    shown = [mask for prompt in answer.masks for mask in prompt]
    picture = draw_prompts(draw_masks(image, shown, options.labels), points, labels, np.array(boxes) if boxes else None)
    content = {"masks": masks, "seconds": seconds, "decoder_prompts": len(answer.masks)}
    with new_folder(options.out, RESULT_FILES, options.overwrite) as folder:
        found = Everything(masks, len(answer.masks), seconds, image.shape[:2])
        if options.format == "label-map":
            write_label_map(label_map(found, *found.size), folder / "labels.png", options.image.name)
        if labelled is not None:
            labelled.write(folder, label_files.with_codes(found, codes))
        _in_mode(masks, shown, options.output_mode, folder)
        write_json(folder / "masks.json", content)
        picture.save(folder / "overlay.png")
    show(options, content, f"{columns(mask_rows(masks))}\n{options.out}: masks.json, overlay.png; {seconds:.2f} s")


def _in_mode(masks: list[dict[str, Any]], arrays: Sequence[Mask], mode: str, folder: Path) -> None:
    """Give the segmentations the form that --output-mode asks for; binary masks become files."""
    for number, (mask, array) in enumerate(zip(masks, arrays, strict=True)):
        if mode == "polygon":
            mask["segmentation"] = to_polygons(array)
        elif mode == "binary_mask":
            name = mask["segmentation"] = f"masks/{number:04d}.png"
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / name)
