"""The label files of a single image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from samlet.data.sources import Entry
from samlet.io.writing import write_json
from samlet.labels.format import LabelFormat, LabelSettings, Masks


def write_image(
    folder: Path, image: Path, masks: Masks, layout: LabelFormat, settings: LabelSettings, placed: Path
) -> None:
    """Write a new folder with the label files of one image.

    Args:
        folder: to write, not there yet.
        image: the photograph.
        masks: of it.
        layout: the format.
        settings: class and tolerance.
        placed: where the folder will lie in the end, from which paths count.
    """
    folder.mkdir()
    write_json(folder / "run.json", {"format": layout.name, **layout.recipe(settings)})
    writer = layout.writer(folder, replace(settings, placed=placed))
    writer.write(Entry(image.name, image), masks)
    writer.finish()
