"""Masks of many images on disk: one JSON line an image, or SA-1B's files. Written as they come, continued later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from PIL import Image

from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.inference.everything import Everything


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
        self._file.write(json.dumps(content).encode() + b"\n")
        self._file.flush()


class Sa1bFiles:
    """SA-1B's layout: `ID.json` for each image; frames of a video are written as `ID.png` beside it.

    Args:
        folder: where the files go. `samlet.data.datasets.open_dataset(folder, images=…)` reads them back.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources: dict[str, str] = {}

    def done(self) -> set[str]:
        """Names of the images that are written already."""
        found = set()
        for path in sorted(self.folder.glob("*.json")):
            content = json.loads(path.read_text())
            if isinstance(content, dict) and "annotations" in content:
                self._sources[path.stem] = content["image"]["file_name"]
                found.add(content["image"]["file_name"])
        return found

    def write(self, entry: Entry, masks: Everything) -> None:
        """Write one `ID.json`; raises InputError where two images would share it."""
        stem = Path(entry.name).stem
        if self._sources.setdefault(stem, entry.name) != entry.name:
            raise InputError(
                f"{entry.name} and {self._sources[stem]} would both be {stem}.json; rename one, or use --format jsonl"
            )
        height, width = masks.size
        image = {"image_id": len(self._sources), "width": width, "height": height, "file_name": entry.name}
        annotations: list[dict[str, Any]] = [{"id": number, **mask} for number, mask in enumerate(masks)]
        if not isinstance(entry.content, Path):
            self._replace(f"{stem}.png", lambda path: Image.fromarray(entry.read()).save(path, format="png"))
        text = json.dumps({"image": image, "annotations": annotations})
        self._replace(f"{stem}.json", lambda path: path.write_text(text))

    def _replace(self, name: str, write: Any) -> None:
        temporary = self.folder / f".samlet-{name}.tmp"
        write(temporary)
        temporary.replace(self.folder / name)
