"""SA-1B's layout: `ID.json` for each image, which samlet's own commands read as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from samlet.data.sources import Entry
from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.schema import SchemaError, checked
from samlet.labels.files import OUR_FILES, FilePerImage, codes_of, save_frame, scores_of
from samlet.labels.format import LabelFormat, LabelledImage, LabelledObject, LabelSettings, Masks


class Sa1bFiles(FilePerImage):
    """`ID.json` for each image; frames of a video are written as `ID.png` beside it."""

    def _found(self) -> Iterator[tuple[str, str]]:
        return ((path.stem, content["image"]["file_name"]) for path, content in _contents(self.folder))

    def write(self, entry: Entry, masks: Masks) -> None:
        """Write one `ID.json`; raises InputError where two images would share it, or something else has its name."""
        stem = self._claim(entry, ".json")
        height, width = masks.size
        image = {"image_id": len(self._sources), "width": width, "height": height, "file_name": entry.name}
        annotations: list[dict[str, Any]] = [{"id": number, **mask} for number, mask in enumerate(masks)]
        if not isinstance(entry.content, Path):
            self._replace(f"{stem}.png", lambda path: save_frame(entry, path))
        text = dumps({"image": image, "annotations": annotations})
        self._replace(f"{stem}.json", lambda path: path.write_text(text))


def _write(folder: Path, _: LabelSettings) -> Sa1bFiles:
    return Sa1bFiles(folder)


class _Image(TypedDict):
    file_name: str


class _Content(TypedDict):
    image: _Image
    annotations: list


class _Size(TypedDict):
    height: int
    width: int


def _read(folder: Path) -> Iterator[LabelledImage]:
    for path, content in _contents(folder):
        try:
            size: _Size = checked(content["image"], _Size, "image")
        except SchemaError as error:
            raise InputError(f"{path}: {error}; expected SA-1B's JSON") from error
        codes = codes_of(content["annotations"], size["height"], size["width"], str(path))
        pairs = zip(codes, content["annotations"], strict=True)
        objects = tuple(LabelledObject(code, scores=scores_of(one)) for code, one in pairs)
        yield LabelledImage(content["image"]["file_name"], (size["height"], size["width"]), objects)


def count_labels(folder: Path) -> tuple[int, int]:
    """Images and masks that a folder in SA-1B's layout holds; see `Sa1bFiles`."""
    counts = [len(content["annotations"]) for _, content in _contents(folder)]
    return len(counts), sum(counts)


def _contents(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each `ID.json` with its content, of which `image.file_name` and `annotations` are there."""
    for path in sorted(folder.glob("*.json")):
        if path.name in OUR_FILES:
            continue
        try:
            content = read_json(path)
            if isinstance(content, dict) and "annotations" in content:
                yield path, checked(content, _Content)
        except InputError as error:
            said = str(error).removeprefix(f"{path} ")
            raise InputError(
                f"{path} is damaged: {said}; expected SA-1B's JSON with image.file_name and annotations. Mend it, "
                "or delete it to have it made again"
            ) from error


def _clear(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.name not in OUR_FILES and b'"annotations"' in path.read_bytes():
            path.unlink()
    for path in folder.glob("frame-*.png"):
        path.unlink()


FORMAT = LabelFormat(
    name="sa1b",
    summary="ID.json for each image in SA-1B's layout, which --data DIR --images PHOTOS of other commands reads",
    writer=_write,
    read=_read,
    clear=_clear,
)
