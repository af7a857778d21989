"""Everything mode over a folder or a video, into files: resumable, failures counted and named."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from samlet.data.masks import rle_from_segmentation
from samlet.data.sources import Entry, Source
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.segmenter import Segmenter
from samlet.io.writing import write_json
from samlet.labelling.files import JsonLines, LabelMaps, Sa1bFiles
from samlet.labelling.label_map import image_of
from samlet.labelling.workers import segment_many
from samlet.models import PromptableModel
from samlet.reporting.overlay import draw_masks
from samlet.runs.folder import LOCK, check_same, read_recipe, whole_recipe, working_in

Format = Literal["jsonl", "sa1b", "label-map"]

_RECIPE, _LINES, _FAILURES, _OVERLAYS = "run.json", "masks.jsonl", "failures.json", "overlays"


@dataclass(frozen=True)
class BatchResult:
    """What a run over many images did.

    Attributes:
        images: with masks in the output, earlier runs included.
        masks: of the images of this run.
        continued: images that earlier runs had written.
        failed: why images have no masks, by name.
        decoder_prompts: of this run.
        seconds: of this run.
        passed_over: why other files of the folder are no photographs, by name.
    """

    images: int
    masks: int
    continued: int
    failed: dict[str, str]
    decoder_prompts: int
    seconds: float
    passed_over: dict[str, str] = field(default_factory=dict)


def segment_source(
    model: PromptableModel | Segmenter,
    source: Source,
    out: Path,
    format: Format = "jsonl",
    overlays: bool = False,
    labels: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    min_area: float = 0.0,
    **options: Any,
) -> BatchResult:
    """Masks of all images of a source, into a folder.

    The same call on the same folder continues where an earlier one was stopped.

    Args:
        model: a `Sam`, an exported one, or another model that has an everything mode.
        source: from `open_source`.
        out: the folder: `masks.jsonl` with one line an image, or SA-1B's `ID.json` files; `failures.json` if any.
        format: `jsonl`; or `sa1b` or `label-map`, which `open_dataset` reads back. Their masks are on the pixels as
            they are stored, whatever their EXIF orientation, for that is how datasets are read.
        overlays: also draw each image with its masks, into `overlays/`.
        labels: number the masks there.
        workers: processes; see `segment_many`.
        overwrite: begin again where an earlier run stands.
        progress: show a progress bar.
        min_area: masks that cover a smaller share of the image are left out, and empty ones always.
        **options: of everything mode: of a `Sam`, fields of `EverythingOptions`; the output mode is COCO RLE, in
            `jsonl` also polygons.

    Raises:
        InputError: the folder holds something else, or a run with other settings; or settings that cannot be.
    """
    start = time.perf_counter()
    if not 0 <= min_area < 1:
        raise InputError(f"min_area is {min_area}; expected a share of the image from 0 up to 1, such as 0.0005")
    mode = options.get("output_mode", "coco_rle")
    if mode == "binary_mask" or (format != "jsonl" and mode != "coco_rle"):
        raise InputError(f"output mode {mode} does not fit format {format}; use coco_rle")
    recipe = _recipe(model, format, min_area, options)
    out = out.expanduser().resolve()
    _check(out, recipe, overwrite)
    with working_in(out):
        if overwrite:
            _clear(out)
        write_json(out / _RECIPE, recipe)
        results = _writer(out, format)
        done = set(results.done())
        before = len(done)
        masks = prompts = 0
        failed: dict[str, str] = {}
        with tqdm(total=source.count, initial=before, unit="image", disable=None if progress else True) as bar:
            for entry, answer in segment_many(model, _remaining(source, done, format), workers, **options):
                bar.update()
                try:
                    if isinstance(answer, str):
                        raise InputError(answer)
                    answer = _large(answer, min_area)
                    results.write(entry, answer)
                except InputError as error:
                    failed[entry.name] = str(error)
                    bar.write(f"{entry.name} failed: {error}", file=sys.stderr)
                    continue
                done.add(entry.name)
                masks += len(answer)
                prompts += answer.decoder_prompts
                bar.set_postfix(masks=masks, failed=len(failed))
                if overlays:
                    _draw(entry, answer, out / _OVERLAYS, labels)
    (out / _FAILURES).unlink(missing_ok=True)
    if failed:
        write_json(out / _FAILURES, {"failed": failed})
    seconds = time.perf_counter() - start
    return BatchResult(len(done), masks, before, failed, prompts, seconds, dict(source.passed_over))


def _writer(out: Path, format: Format) -> JsonLines | Sa1bFiles | LabelMaps:
    if format == "label-map":
        return LabelMaps(out)
    return Sa1bFiles(out) if format == "sa1b" else JsonLines(out / _LINES)


def _recipe(
    model: PromptableModel | Segmenter, format: Format, min_area: float, options: dict[str, Any]
) -> dict[str, Any]:
    """What determines the masks of an image; raises InputError for options that the model does not take."""
    if isinstance(model, PromptableModel):
        settings = dataclasses.asdict(MaskGenerator(model, **options).options)
    else:
        model.check_options(**options)
        settings = dict(options)
    settings.pop("points_per_batch", None)
    for name, default in (("max_mask_region_area", 0), ("mask_nms_thresh", 1.0)):
        if settings.get(name) == default:
            settings.pop(name)
    if min_area:
        settings["min_area"] = min_area
    if settings.get("point_grids"):
        settings["point_grids"] = [np.asarray(grid).tolist() for grid in settings["point_grids"]]
    return whole_recipe({"format": format, "model": model.fingerprint(), **settings})


def _remaining(source: Source, done: set[str], format: Format) -> Iterator[Entry]:
    """The images that are still to be done; as they are stored, in formats that are read back as annotations."""
    left = (entry for entry in source if entry.name not in done)
    return (dataclasses.replace(entry, upright=False) for entry in left) if format != "jsonl" else left


def _large(masks: Everything, min_area: float) -> Everything:
    """The masks that cover at least this share of the image, and at least one pixel."""
    least = max(1, min_area * masks.size[0] * masks.size[1])
    kept = [mask for mask in masks if mask["area"] >= least]
    return Everything(kept, masks.decoder_prompts, masks.seconds, masks.size)


def _check(out: Path, recipe: dict[str, Any], overwrite: bool) -> None:
    """Refuse a folder that holds something else, or a run that this one cannot continue."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder to write to")
    if overwrite and (out / _RECIPE).is_file():
        return
    found = read_recipe(out / _RECIPE)
    if found is not None:
        check_same(found, recipe, out)
    elif held := sorted(entry.name for entry in out.iterdir() if entry.name != LOCK) if out.is_dir() else []:
        raise InputError(f"{out} already holds {', '.join(held[:3])}; nothing was written. Name a new folder")


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    shutil.rmtree(out / _OVERLAYS, ignore_errors=True)
    for path in [out / _LINES, out / _FAILURES, *out.glob("frame-*.png")]:
        path.unlink(missing_ok=True)
    for path in out.glob("*.png"):
        if image_of(path) is not None:
            path.unlink()
    for path in out.glob("*.json"):
        if path.name == _RECIPE or b'"annotations"' in path.read_bytes():
            path.unlink()


def _draw(entry: Entry, masks: Everything, folder: Path, labels: bool) -> None:
    height, width = masks.size
    shown = [rle_from_segmentation(mask["segmentation"], height, width) for mask in masks]
    path = (folder / entry.name).with_suffix(".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_masks(entry.read(), shown, labels=labels)).save(path, quality=90)
