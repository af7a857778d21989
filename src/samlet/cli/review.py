"""`samlet review`."""

from __future__ import annotations

import argparse

from samlet.cli.common import note, show
from samlet.labelling.review import review


def run(options: argparse.Namespace) -> None:
    """Write a page to look through labels."""
    made = review(
        options.labels,
        format=options.format,
        images=options.images,
        out=options.out,
        order=options.order,
        limit=options.limit,
        side=options.side,
        overwrite=options.overwrite,
    )
    if made.missing:
        note(f"samlet: {len(made.missing)} photographs were not found, the first {made.missing[0]}; see --images")
    content = {
        "page": str(made.page),
        "images": made.images,
        "masks": made.masks,
        "missing": list(made.missing),
    }
    show(options, content, f"{made.images} photographs, {made.masks} masks\nLook at {made.page}")
