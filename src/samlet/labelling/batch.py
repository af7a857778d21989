"""Everything mode over a folder or a video, into files: resumable, failures counted and named."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from samlet.data.masks import rle_from_segmentation
from samlet.data.sources import Entry, Source
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything
from samlet.inference.sam_segmenter import as_segmenter
from samlet.inference.segmenter import AnyModel
from samlet.io.progress import progress_bar
from samlet.io.writing import writable_path, write_json
from samlet.labelling.output import COUNTS, FAILURES, OVERLAYS, RECIPE, check_folder, clear_folder
from samlet.labelling.workers import segment_many
from samlet.labels import label_format
from samlet.labels.journal import Journal
from samlet.reporting.overlay import draw_masks
from samlet.runs.folder import whole_recipe, working_in


@dataclass(frozen=True)
class BatchResult:
    """What a run over many images did.

    Attributes:
        images: with masks in the output, earlier runs included.
        masks: of these images.
        continued: images that earlier runs had written.
        failed: why images have no masks, by name.
        decoder_prompts: of these images.
        seconds: of this run.
        passed_over: why other files of the folder are no photographs, by name.
        sparse: of the images of this run with next to no masks, which threshold to lower, by name.
    """

    images: int
    masks: int
    continued: int
    failed: dict[str, str]
    decoder_prompts: int
    seconds: float
    passed_over: dict[str, str] = field(default_factory=dict)
    sparse: dict[str, str] = field(default_factory=dict)


def told_sparse(sparse: dict[str, str]) -> str:
    """What to do about images with next to no masks, one line."""
    name, hint = next(iter(sparse.items()))
    return f"{len(sparse)} images have next to no masks; the first, {name}: {hint}"


def segment_source(
    model: AnyModel,
    source: Source,
    out: Path,
    format: str = "jsonl",
    overlays: bool = False,
    labels: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    min_area: float = 0.0,
    class_name: str | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> BatchResult:
    """Masks of all images of a source, into a folder.

    The same call on the same folder continues where an earlier one was stopped.

    Args:
        model: a `Sam`, an exported one, or another model that has an everything mode.
        source: from `open_source`.
        out: the folder of the label files; `failures.json` if any.
        format: one of `samlet.labels.FORMATS`, such as `jsonl`. Masks lie on the photographs turned upright by their
            EXIF orientation, in every format, unless `Reading.stored_pixels` is set.
        overlays: also draw each image with its masks, into `overlays/`.
        labels: number the masks there.
        workers: processes; see `segment_many`.
        overwrite: begin again where an earlier run stands.
        progress: show a progress bar.
        min_area: masks that cover a smaller share of the image are left out, and empty ones always.
        class_name: of every mask, in formats with classes; `object` if None.
        tolerance: pixels by which polygons may leave their masks, in formats with polygons; 1 if None.
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
    layout = label_format(format)
    settings = layout.settings(class_name, tolerance)
    recipe = _recipe(model, format, min_area, options) | layout.recipe(settings)
    out = writable_path(out)
    check_folder(out, recipe, overwrite)
    with working_in(out):
        if overwrite:
            clear_folder(out)
        write_json(out / RECIPE, recipe)
        results = layout.writer(out, settings)
        done = set(results.done())
        before = len(done)
        counts = _Counts(out)
        failed: dict[str, str] = {}
        sparse: dict[str, str] = {}
        with progress_bar("segmenting", "image", source.count, before, progress) as bar:
            for entry, answer in segment_many(model, _remaining(source, done), workers, **options):
                bar.update()
                try:
                    if isinstance(answer, str):
                        raise InputError(answer)
                    if answer.hint:
                        sparse[entry.name] = answer.hint
                    answer = _large(answer, min_area)
                    counts.add(entry.name, answer)  # first: of an image that is not written it is not counted
                    results.write(entry, answer)
                except InputError as error:
                    failed[entry.name] = str(error)
                    bar.write(f"{entry.name} failed: {error}")
                    continue
                done.add(entry.name)
                bar.set_postfix(masks=counts.of(done)[0], failed=len(failed))
                if overlays:
                    _draw(entry, answer, out / OVERLAYS, labels)
        results.finish()
    (out / FAILURES).unlink(missing_ok=True)
    if failed:
        write_json(out / FAILURES, {"failed": failed})
    seconds = time.perf_counter() - start
    masks, prompts = counts.of(done)
    return BatchResult(len(done), masks, before, failed, prompts, seconds, dict(source.passed_over), sparse)


def _recipe(model: AnyModel, format: str, min_area: float, options: dict[str, Any]) -> dict[str, Any]:
    """What determines the masks of an image; raises InputError for options that the model does not take."""
    settings = as_segmenter(model).everything_settings(**options)
    settings.pop("points_per_batch", None)
    for name, default in (("max_mask_region_area", 0), ("mask_nms_thresh", 1.0)):
        if settings.get(name) == default:
            settings.pop(name)
    if min_area:
        settings["min_area"] = min_area
    if settings.get("point_grids"):
        settings["point_grids"] = [np.asarray(grid).tolist() for grid in settings["point_grids"]]
    return whole_recipe({"format": format, "model": model.fingerprint(), **settings})


class _Line(TypedDict):
    image: str
    masks: int
    decoder_prompts: int


class _Counts:
    """Masks and prompts of each image, on disk, so that a run that was continued counts the whole."""

    def __init__(self, out: Path) -> None:
        self._journal = Journal(out / COUNTS, _Line)
        self._by_image = {line["image"]: (line["masks"], line["decoder_prompts"]) for line in self._journal}
        self._total = [0, 0]
        self._counted: set[str] = set()

    def add(self, image: str, answer: Everything) -> None:
        """Note down one image, again where it was not written."""
        found = len(answer), answer.decoder_prompts
        if self._by_image.get(image) != found:
            self._journal.append({"image": image, "masks": found[0], "decoder_prompts": found[1]})
            self._by_image[image] = found

    def of(self, images: Collection[str]) -> tuple[int, int]:
        """Masks and prompts of some images, of which there are only ever more."""
        if len(images) != len(self._counted):
            for image in set(images) - self._counted:
                counted = self._by_image.get(image, (0, 0))
                self._total = [sum(pair) for pair in zip(self._total, counted, strict=True)]
            self._counted = set(images)
        return self._total[0], self._total[1]


def _remaining(source: Source, done: set[str]) -> Iterator[Entry]:
    """The images that are still to be done."""
    return (entry for entry in source if entry.name not in done)


def _large(masks: Everything, min_area: float) -> Everything:
    """The masks that cover at least this share of the image, and at least one pixel."""
    least = max(1, min_area * masks.size[0] * masks.size[1])
    kept = [mask for mask in masks if mask["area"] >= least]
    return Everything(kept, masks.decoder_prompts, masks.seconds, masks.size)


def _draw(entry: Entry, masks: Everything, folder: Path, labels: bool) -> None:
    height, width = masks.size
    shown = [rle_from_segmentation(mask["segmentation"], height, width) for mask in masks]
    path = (folder / entry.name).with_suffix(".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_masks(entry.read(), shown, labels=labels)).save(path, quality=90)
