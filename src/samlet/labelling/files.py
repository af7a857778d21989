"""Masks of many images on disk: one JSON line an image, or SA-1B's files. Written as they come, continued later."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from PIL import Image

from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything
from samlet.io.jsons import dumps
from samlet.labelling.label_map import image_of, label_map, write_label_map

OUR_FILES = frozenset({"run.json", "failures.json"})
"""JSON files of a run that are no results."""


class JsonLines:
    """One file, one line an image: `image`, `height`, `width`, `masks`, `decoder_prompts`, `seconds`.

    Args:
        path: the file; a last line that a killed process left unfinished is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: set[str] = set()
        if path.is_file():
            self._names = set(self._whole_lines())
        self._file: IO[bytes] = path.open("ab")

    def _whole_lines(self) -> Iterator[str]:
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    yield json.loads(line)["image"]
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{self.path} holds a line that samlet did not write: {line[:60]!r}; name a new folder"
                    ) from error
                end += len(line)
        os.truncate(self.path, end)

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        return self._names

    def write(self, entry: Entry, masks: Everything) -> None:
        """Append one line."""
        height, width = masks.size
        content = {
            "image": entry.name,
            "height": height,
            "width": width,
            "masks": masks,
            "decoder_prompts": masks.decoder_prompts,
            "seconds": masks.seconds,
        }
        self._file.write(dumps(content).encode() + b"\n")
        self._file.flush()


class _FilePerImage:
    """One file for each image, called as the image is.

    Args:
        folder: where the files go. `samlet.data.datasets.open_dataset(folder, images=…)` reads them back.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources: dict[str, str] = {}

    def _found(self) -> Iterator[tuple[Path, str]]:
        """Each file that is there, and the image that it belongs to."""
        raise NotImplementedError

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        self._sources |= {path.stem: name for path, name in self._found()}
        return set(self._sources.values())

    def _claim(self, entry: Entry, suffix: str) -> str:
        """The name, without suffix, of an image's file; raises InputError where another image has it."""
        stem = Path(entry.name).stem
        if self._sources.setdefault(stem, entry.name) != entry.name:
            raise InputError(
                f"{entry.name} and {self._sources[stem]} would both be {stem}{suffix}; rename one, or use "
                "--format jsonl"
            )
        return stem

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        temporary = self.folder / f".samlet-{name}.tmp"
        write(temporary)
        temporary.replace(self.folder / name)


class Sa1bFiles(_FilePerImage):
    """SA-1B's layout: `ID.json` for each image; frames of a video are written as `ID.png` beside it."""

    def _found(self) -> Iterator[tuple[Path, str]]:
        return ((path, name) for path, name, _ in _labels(self.folder))

    def write(self, entry: Entry, masks: Everything) -> None:
        """Write one `ID.json`; raises InputError where two images would share it, or something else has its name."""
        stem = Path(entry.name).stem
        if f"{stem}.json" in OUR_FILES:
            raise InputError(f"{entry.name} cannot have its {stem}.json, which is a file of the run; rename it")
        self._claim(entry, ".json")
        height, width = masks.size
        image = {"image_id": len(self._sources), "width": width, "height": height, "file_name": entry.name}
        annotations: list[dict[str, Any]] = [{"id": number, **mask} for number, mask in enumerate(masks)]
        if not isinstance(entry.content, Path):
            self._replace(f"{stem}.png", lambda path: Image.fromarray(entry.read()).save(path, format="png"))
        text = dumps({"image": image, "annotations": annotations})
        self._replace(f"{stem}.json", lambda path: path.write_text(text))


class LabelMaps(_FilePerImage):
    """One `ID.png` for each image: a map of labels, 16 bits, without overlaps; see `samlet.labelling.label_map`."""

    def _found(self) -> Iterator[tuple[Path, str]]:
        named = ((path, image_of(path)) for path in sorted(self.folder.glob("*.png")))
        return ((path, name) for path, name in named if name is not None)

    def write(self, entry: Entry, masks: Everything) -> None:
        """Write one `ID.png`; raises InputError where two images would share it."""
        labels = label_map(masks, *masks.size)
        self._replace(f"{self._claim(entry, '.png')}.png", lambda path: write_label_map(labels, path, entry.name))


def count_labels(folder: Path) -> tuple[int, int]:
    """Images and masks that a folder in SA-1B's layout holds; see `Sa1bFiles`."""
    counts = [masks for _, _, masks in _labels(folder)]
    return len(counts), sum(counts)


def _labels(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """Each `ID.json`, the image that it belongs to, and its number of masks."""
    for path in sorted(folder.glob("*.json")):
        if path.name in OUR_FILES:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and "annotations" in content:
                yield path, str(content["image"]["file_name"]), len(content["annotations"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged: {error!r}; expected SA-1B's JSON with image.file_name and annotations. Mend it, "
                "or delete it to have it made again"
            ) from error
