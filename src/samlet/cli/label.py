"""`samlet label`."""

from __future__ import annotations

import argparse
import shlex

from samlet.baselines.loading import load_any
from samlet.cli.common import file_table, set_up, show
from samlet.errors import SamletError
from samlet.labelling.batch import told_sparse
from samlet.labelling.folder import label
from samlet.labelling.workers import all_cores


def run(options: argparse.Namespace) -> None:
    """Label a folder of photographs."""
    device = set_up(options)
    teacher = load_any(options.teacher, device, options.threads)
    result = label(
        teacher,
        options.images,
        options.out,
        strategy=options.strategy,
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        image_size=options.image_size,
        min_area=options.min_area,
        limit=options.limit,
        workers=all_cores(teacher) if options.workers is None else options.workers,
        overlays=options.overlays,
        overwrite=options.overwrite,
        format=options.format,
        class_name=options.class_name,
        tolerance=options.tolerance,
    )
    if result.failed and not result.images:
        name, reason = next(iter(result.failed.items()))
        raise SamletError(f"all {len(result.failed)} images failed; the first, {name}: {reason}")
    content = {
        "images": result.images,
        "masks": result.masks,
        "failed": [{"image": name, "reason": reason} for name, reason in result.failed.items()],
        "passed_over": [{"file": name, "reason": reason} for name, reason in result.passed_over.items()],
        "sparse": [{"image": name, "hint": hint} for name, hint in result.sparse.items()],
        "seconds": result.seconds,
    }
    text = f"{options.out}: {result.images} images, {result.masks} masks, {len(result.failed)} failed"
    text += f", {len(result.passed_over)} files passed over" if result.passed_over else ""
    text += f"; {result.seconds:.1f} s"
    if result.sparse:
        text += "\n" + told_sparse(result.sparse)
    review = shlex.join(["samlet", "review", str(options.out), "--images", str(options.images)])
    text += f"\nto look at them: {review}"
    table = file_table(result.images, result.failed, result.passed_over)
    show(options, content, f"{text}\n\n{table}" if table else text)
