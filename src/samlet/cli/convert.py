"""`samlet convert`."""

from __future__ import annotations

import argparse

from samlet.cli.common import file_table, note, show
from samlet.errors import NothingLeftError
from samlet.labelling.convert import convert_labels, lost_classes
from samlet.labelling.sieve import REASONS


def run(options: argparse.Namespace) -> None:
    """Write label files in another format."""
    made = convert_labels(
        options.labels,
        options.out,
        options.format,
        images=options.images,
        source=options.source,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        min_area=options.min_area,
        class_name=options.class_name,
        tolerance=options.tolerance,
        overwrite=options.overwrite,
    )
    if not made.images:
        name, reason = next(iter(made.failed.items()))
        raise NothingLeftError(f"all {len(made.failed)} images failed; the first, {name}: {reason}")
    if lost := lost_classes(made, options.format):
        note(
            f"samlet: {options.format} has no classes, and {', '.join(lost[:5])} are lost; coco, labelme and yolo have"
        )
    if made.unscored:
        note(f"samlet: {made.unscored} masks say no such score and were kept; people drew them, or another tool")
    content = {
        "source": made.source,
        "format": options.format,
        "images": made.images,
        "masks": made.masks,
        "dropped": dict(made.dropped),
        "unscored": made.unscored,
        "classes": list(made.classes),
        "failed": [{"image": name, "reason": reason} for name, reason in made.failed.items()],
        "seconds": made.seconds,
    }
    gone = ", ".join(f"{made.dropped[reason]} for {reason}" for reason in REASONS if made.dropped[reason])
    text = f"{options.out}: {made.images} images, {made.masks} masks from {made.source} to {options.format}, "
    text += f"{sum(made.dropped.values())} dropped{f' ({gone})' if gone else ''}, {len(made.failed)} failed"
    table = file_table(made.images, made.failed, {})
    show(options, content, f"{text}\n\n{table}" if table else text)
