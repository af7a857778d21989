"""`samlet evaluate`."""

from __future__ import annotations

import argparse

from samlet.cli.common import columns, load_on, note, set_up, show
from samlet.data.datasets import open_dataset, plain_images
from samlet.errors import InputError
from samlet.evaluation.miou import RULES, evaluate


def run(options: argparse.Namespace) -> None:
    """Measure one model on one dataset."""
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}; expected at least 1")
    device = set_up(options)
    annotated = options.reference is None or options.data.is_file()
    dataset = open_dataset(options.data, options.images) if annotated else plain_images(options.data)
    if dataset.without_masks:
        note(f"samlet: {dataset.without_masks} photographs without annotations are left out")
    sam = load_on(options.model, device)
    reference = load_on(options.reference, device) if options.reference else None
    found = evaluate(
        sam, dataset, options.prompt, reference, image_size=options.image_size, limit=options.limit, seed=options.seed
    )
    for path, reason in found.skipped.items():
        note(f"samlet: skipped {path}: {reason}")
    content = {
        "protocol": found.protocol,
        "images": found.images,
        "masks": found.masks,
        "miou": {
            key: value
            for rule in RULES
            for key, value in ((rule, found.miou[rule]), (f"{rule}_ci", list(found.intervals[rule])))
        },
        "skipped": found.skipped,
        "seconds": found.seconds,
    }
    rows = [("", *RULES), ("mIoU", *(f"{found.miou[rule]:.4f}" for rule in RULES))]
    rows.append(("95% interval", *("{:.4f} to {:.4f}".format(*found.intervals[rule]) for rule in RULES)))
    text = f"{columns(rows)}\n{found.masks} masks on {found.images} images, {found.seconds:.1f} s"
    text += f"\nprotocol: {found.protocol}"
    show(options, content, text)
