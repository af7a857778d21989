"""One JSON line an image: all that everything mode says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from samlet.data.sources import Entry
from samlet.labels.files import codes_of, remove, scores_of
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks
from samlet.labels.journal import Journal

_LINES = "masks.jsonl"


class _Line(TypedDict):
    image: str
    height: int
    width: int
    masks: list[dict]


class JsonLines:
    """`masks.jsonl`: `image`, `height`, `width`, `masks`, `decoder_prompts`, `seconds` a line.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / _LINES, _Line)

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        return {line["image"] for line in self._journal}

    def write(self, entry: Entry, masks: Masks) -> None:
        """Append one line."""
        height, width = masks.size
        self._journal.append(
            {
                "image": entry.name,
                "height": height,
                "width": width,
                "masks": list(masks),
                "decoder_prompts": masks.decoder_prompts,
                "seconds": masks.seconds,
            }
        )

    def finish(self) -> None:
        """Nothing is about all images together."""


def _write(folder: Path, _: LabelSettings) -> JsonLines:
    return JsonLines(folder)


def _read(folder: Path) -> Iterator[LabelledImage]:
    for line in Journal(folder / _LINES, _Line):
        height, width = line["height"], line["width"]
        codes = codes_of(line["masks"], height, width, f"{folder / _LINES}: {line['image']}")
        objects = tuple(
            LabelledObject(code, scores=scores_of(mask)) for code, mask in zip(codes, line["masks"], strict=True)
        )
        yield LabelledImage(line["image"], (height, width), objects)


FORMAT = LabelFormat(
    name="jsonl",
    summary="masks.jsonl, one line an image with all that is known of its masks",
    writer=_write,
    read=_read,
    clear=lambda folder: remove(folder / _LINES),
    one_file=True,
)
