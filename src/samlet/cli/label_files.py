"""The label files of one image, in the folder of its results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samlet.data.masks import RLE
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything
from samlet.io.paths import expanded
from samlet.labels import LabelFormat, LabelSettings, label_format
from samlet.labels.one import write_image

FOLDER = "labels"


@dataclass(frozen=True)
class LabelFiles:
    """What to write.

    Attributes:
        image: the photograph.
        out: the folder of the results.
        layout: the format.
        settings: class and tolerance.
    """

    image: Path
    out: Path
    layout: LabelFormat
    settings: LabelSettings

    def write(self, folder: Path, masks: Everything) -> None:
        """Write them into the folder of the results while it is made; masks are run-length codes."""
        placed = expanded(self.out) / FOLDER
        write_image(folder / FOLDER, expanded(self.image), masks, self.layout, self.settings, placed)


def asked(options: argparse.Namespace) -> LabelFiles | None:
    """What --format, --class and --tolerance ask for; None for no files, and for a label map, which is one file.

    Raises:
        InputError: a class or tolerance without a format that has it.
    """
    if options.format is None:
        for value, name in ((options.class_name, "--class"), (options.tolerance, "--tolerance")):
            if value is not None:
                raise InputError(
                    f"{name} {value} is for label files, and no --format was given; name one, such as coco"
                )
        return None
    layout = label_format(options.format)
    settings = layout.settings(options.class_name, options.tolerance)
    if layout.name == "label-map":
        return None
    return LabelFiles(options.image, options.out, layout, settings)


def with_codes(masks: Everything, codes: Sequence[RLE]) -> Everything:
    """The same masks as run-length codes, without empty ones."""
    records: list[dict[str, Any]] = [
        {**mask, "segmentation": code} for mask, code in zip(masks, codes, strict=True) if mask["area"]
    ]
    return Everything(records, masks.decoder_prompts, masks.seconds, masks.size)
