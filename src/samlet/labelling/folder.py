"""Labels by a model: its own masks of unlabelled photographs, good enough ones, as files to correct and to train on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samlet.baselines.loading import open_segmenter
from samlet.data.sources import Source, open_source
from samlet.errors import InputError
from samlet.inference.everything.options import Strategy
from samlet.inference.segmenter import AnyModel
from samlet.io.paths import expanded
from samlet.labelling.batch import segment_source
from samlet.labels import read_labels
from samlet.labels.sa1b import count_labels


@dataclass(frozen=True)
class LabelResult:
    """What a folder of labels holds after a run.

    Attributes:
        images: with labels, earlier runs included; an image may have none that is good enough.
        masks: of these images.
        failed: why images have no labels, by name.
        seconds: of this run.
        passed_over: why other files of the folder are no photographs, by name.
        sparse: of the images of this run with next to no masks, which threshold to lower, by name.
    """

    images: int
    masks: int
    failed: dict[str, str]
    seconds: float
    passed_over: dict[str, str] = field(default_factory=dict)
    sparse: dict[str, str] = field(default_factory=dict)


def label(
    model: AnyModel | str | Path,
    images: str | Path,
    out: str | Path,
    *,
    strategy: Strategy | None = None,
    points_per_side: int | None = None,
    pred_iou_thresh: float | None = None,
    stability_score_thresh: float | None = None,
    image_size: int | None = None,
    min_area: float = 0.0,
    limit: int | None = None,
    workers: int | None = None,
    overlays: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    format: str = "sa1b",
    class_name: str | None = None,
    tolerance: float | None = None,
) -> LabelResult:
    """Write a model's masks of a folder of photographs, by default as `ID.json` files in SA-1B's layout.

    `open_dataset(out, images=images)` reads them back, or `samlet.labels.read_labels` any format. The same call on the
    same folder continues where an earlier one was stopped, and never touches a file that is there.

    Args:
        model: its name or path, or a `Sam`, exported or not, a `Sam2Onnx` or a `FastSam`. FastSAM takes none of the
            four options that follow `out`.
        images: a folder of photographs.
        out: a new folder, or that of an earlier run.
        strategy: `grid` or `hierarchical`; by default hierarchical for a `Sam`, and grid, the only one, for others.
        points_per_side: of the grid; by default 32 for a `Sam`, 16 for others.
        pred_iou_thresh: masks of a predicted IoU of at most this are dropped; 0.88 by default, 0.8 for
            SAM 2 of samlet's own.
        stability_score_thresh: masks less stable than this are dropped; 0.95 by default.
        image_size: side of the input of a `Sam`, pixels; its own if None.
        min_area: masks that cover a smaller share of the image are dropped.
        limit: use only the first so many photographs, in the order of their names; a later call may go on.
        workers: processes, for a `Sam`; this one alone if None. See `segment_many`.
        overlays: also draw each photograph with its masks, into `overlays/` in `out`.
        overwrite: begin again where an earlier run stands.
        progress: show a progress bar.
        format: one of `samlet.labels.FORMATS`.
        class_name: see `segment_source`.
        tolerance: see `segment_source`.

    Raises:
        InputError: settings that the model does not take, photographs that would share a file, or a folder that holds
            something else or a run with other settings.
    """
    start = time.perf_counter()
    segmenter = open_segmenter(model, image_size)
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1")
    out = expanded(out).resolve()
    source = _photographs(Path(images), out, overlays)
    if limit is not None:
        source = source.head(limit)
    options: dict[str, Any] = {
        "strategy": strategy,
        "points_per_side": points_per_side,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
    }
    given = {name: value for name, value in options.items() if value is not None}
    run = segment_source(
        segmenter,
        source,
        out,
        format=format,
        class_name=class_name,
        tolerance=tolerance,
        overlays=overlays,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        min_area=min_area,
        **segmenter.label_options | given,
    )
    counts = count_labels(out) if format == "sa1b" else _count(out, format)
    return LabelResult(*counts, run.failed, time.perf_counter() - start, run.passed_over, run.sparse)


def _count(out: Path, format: str) -> tuple[int, int]:
    """Images and masks that a folder holds."""
    found = [len(image.objects) for image in read_labels(out, format)]
    return len(found), sum(found)


def _photographs(images: Path, out: Path, overlays: bool) -> Source:
    """The photographs, each of which can have a file of its own."""
    images = expanded(images)
    if not images.is_dir():
        raise InputError(
            f"{images} is not a folder; expected a folder of photographs (for a video, `samlet segment --everything "
            "--format sa1b` writes frames and labels)"
        )
    if overlays and out.is_relative_to(images.resolve()):
        raise InputError(
            f"{out} lies inside {images}, where overlays would be taken for photographs; expected another folder, or "
            "no overlays"
        )
    source = open_source(images)
    names: dict[str, str] = {}
    for entry in source:
        stem = Path(entry.name).stem
        if names.setdefault(stem, entry.name) != entry.name:
            raise InputError(
                f"{names[stem]} and {entry.name} in {images} would share {stem}.json; rename one of them, or label "
                "their folders one by one"
            )
    return source
