"""`samlet segment --everything`: all masks of an image, of a folder of images, or of a video's frames."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from samlet.cli import label_files
from samlet.cli.common import columns, file_table, load_to_run, mask_rows, note, set_up, show
from samlet.data.images import read_image
from samlet.data.masks import encode_rle, rle_from_segmentation, union_area
from samlet.data.sources import is_image_file, open_source
from samlet.errors import InputError, SamletError
from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.everything.options import EverythingOptions, option_names
from samlet.io.writing import RESULT_FILES, check_output, new_folder, write_json
from samlet.labelling.batch import segment_source, told_sparse
from samlet.labelling.workers import all_cores
from samlet.labels.label_map import label_map, write_label_map
from samlet.reporting.overlay import draw_masks

_MASKS_SHOWN = 10
_COVERED = 0.5  # share of the photograph under which thresholds are named
_SPARSE = "lower --pred-iou-thresh or --stability-score-thresh for more masks, or click on what is missing (--point)"


def run(options: argparse.Namespace) -> None:
    """Segment everything."""
    chosen = {name: getattr(options, name) for name in option_names() if hasattr(options, name)}
    EverythingOptions(**chosen)
    if is_image_file(options.image):
        _one(options, chosen)
    else:
        _many(options, chosen)


def _one(options: argparse.Namespace, chosen: dict[str, Any]) -> None:
    for given, name in (
        (options.workers, "--workers"),
        (options.every > 1, "--every"),
    ):
        if given:
            raise InputError(f"{name} is for folders and videos, and {options.image} is one image; leave it out")
    labelled = label_files.asked(options)
    check_output(options.out, RESULT_FILES, options.overwrite)
    image = read_image(options.image)
    generate = MaskGenerator(load_to_run(options.model, set_up(options)), progress=True, **chosen)
    masks = generate(image)
    codes = _codes(masks)
    with new_folder(options.out, RESULT_FILES, options.overwrite) as folder:
        if generate.options.output_mode == "binary_mask":
            _write_pictures(masks, folder)
        if options.format == "label-map":
            write_label_map(label_map(masks, *masks.size), folder / "labels.png", options.image.name)
        if labelled is not None:
            labelled.write(folder, label_files.with_codes(masks, codes))
        covered = union_area(codes) / (masks.size[0] * masks.size[1])
        content = {
            "masks": list(masks),
            "seconds": masks.seconds,
            "decoder_prompts": masks.decoder_prompts,
            "covered": covered,
        }
        if masks.hint:
            content["hint"] = masks.hint
        write_json(folder / "masks.json", content)
        Image.fromarray(draw_masks(image, codes, labels=options.labels)).save(folder / "overlay.png")
    more = f"\n… {len(masks) - _MASKS_SHOWN} more" if len(masks) > _MASKS_SHOWN else ""
    summary = f"{len(masks)} masks from {masks.decoder_prompts} prompts in {masks.seconds:.2f} s"
    summary += f", on {covered:.0%} of the photograph"
    summary += f": {masks.hint or _SPARSE}" if masks.hint or covered < _COVERED else ""
    show(
        options,
        content,
        f"{columns(mask_rows(masks[:_MASKS_SHOWN]))}{more}\n{summary}\n{options.out}: masks.json, overlay.png",
    )


def _codes(masks: Everything) -> list[dict[str, Any]]:
    """The masks as RLE, whatever they are."""
    height, width = masks.size
    given = [mask["segmentation"] for mask in masks]
    return [
        rle_from_segmentation(one, height, width) if isinstance(one, dict | list) else encode_rle(one) for one in given
    ]


def _write_pictures(masks: Everything, folder: Path) -> None:
    """Binary masks as PNG files, which `segmentation` then names."""
    (folder / "masks").mkdir()
    for number, mask in enumerate(masks):
        name = f"masks/{number:04d}.png"
        Image.fromarray(mask["segmentation"]).save(folder / name)
        mask["segmentation"] = name


def _many(options: argparse.Namespace, chosen: dict[str, Any]) -> None:
    source = open_source(options.image, options.every)
    model = load_to_run(options.model, set_up(options))
    result = segment_source(
        model,
        source,
        options.out,
        format=options.format or "jsonl",
        overlays=options.overlays,
        labels=options.labels,
        workers=all_cores(model) if options.workers is None else options.workers,
        overwrite=options.overwrite,
        class_name=options.class_name,
        tolerance=options.tolerance,
        **chosen,
    )
    if result.failed and not result.images:
        name, reason = next(iter(result.failed.items()))
        raise SamletError(f"all {len(result.failed)} images failed; the first, {name}: {reason}")
    content = {**dataclasses.asdict(result), "failed": [{"image": k, "reason": v} for k, v in result.failed.items()]}
    content["sparse"] = [{"image": name, "hint": hint} for name, hint in result.sparse.items()]
    content["passed_over"] = [{"file": name, "reason": why} for name, why in result.passed_over.items()]
    if result.continued:
        note(f"samlet: {result.continued} images were there already")
    over = f", {len(result.passed_over)} files passed over" if result.passed_over else ""
    text = f"{result.images} images, {result.masks} masks, {len(result.failed)} failed{over}, "
    text += f"{result.decoder_prompts} prompts, {result.seconds:.1f} s\n{options.out}"
    if result.sparse:
        text += "\n" + told_sparse(result.sparse)
    table = file_table(result.images, result.failed, result.passed_over)
    show(options, content, f"{text}\n\n{table}" if table else text)
