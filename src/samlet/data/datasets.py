"""Annotated and plain collections of photographs behind one interface, read one image at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from samlet.data.annotations import Annotation, read_annotations, read_sa1b
from samlet.data.coco import CocoSource
from samlet.data.folders import Survey, find_images, survey
from samlet.data.label_maps import LabelMapSource, find_pairs
from samlet.data.planes import stored_size
from samlet.data.samples import Sample
from samlet.data.shards import ShardSource
from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.paths import expanded

__all__ = ["Annotation", "Dataset", "Sample", "open_dataset", "plain_images"]

_EXPECTED = "expected an SA-1B folder or shard, a COCO or LVIS JSON, label maps, or a folder of images"


class Source(Protocol):
    """Where photographs come from."""

    kind: str
    annotated: bool

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """One photograph."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Photographs in a fixed order.

    Attributes:
        path: what the user named.
        source: where they come from.
        order: which of the source's, in which order.
        without_masks: photographs beside them that have no annotations and are left out.
        without_image: annotations beside them that have no photograph and are left out.
        survey: of a folder, what is in it and what was passed over.
    """

    path: Path
    source: Source
    order: Sequence[int]
    without_masks: int = 0
    without_image: int = 0
    survey: Survey | None = None

    @property
    def kind(self) -> str:
        """`sa1b`, `coco`, `label maps` or `images`."""
        return self.source.kind

    @property
    def size(self) -> int:
        """Number of photographs."""
        return len(self.order)

    @property
    def annotated(self) -> bool:
        """Whether it brings true masks."""
        return self.source.annotated

    def __iter__(self) -> Iterator[Sample]:
        return (self.source.sample(int(index)) for index in self.order)

    def shuffled(self, seed: int) -> Dataset:
        """The same photographs in a random order."""
        order = np.random.default_rng(seed).permutation(self.size)
        return replace(self, order=[self.order[i] for i in order])

    def head(self, limit: int | None) -> Dataset:
        """The first `limit` photographs."""
        return replace(self, order=self.order[:limit])

    def share(self, part: int, parts: int) -> Dataset:
        """Every `parts`-th photograph from number `part` on: what one of several processes works on."""
        return replace(self, order=self.order[part::parts])


class _Sidecars:
    """SA-1B's layout: `ID.jpg` with `ID.json`."""

    kind = "sa1b"
    annotated = True

    def __init__(self, pairs: list[tuple[Path, Path]]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int) -> Sample:
        path, sidecar = self._pairs[index]
        entries = read_sa1b(read_json(sidecar), str(sidecar))["annotations"]
        found, problems = read_annotations(str(sidecar), entries, None, partial(stored_size, path))
        return Sample(path, found, problems=problems)


class _Images:
    """Photographs of which nothing is known."""

    kind = "images"
    annotated = False

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def sample(self, index: int) -> Sample:
        return Sample(self._paths[index])


def open_dataset(path: str | Path, images: str | Path | None = None) -> Dataset:
    """Open a dataset, its kind told by content.

    Args:
        path: folder of `ID.jpg|png` + `ID.json` (SA-1B), an SA-1B shard (`.tar`) or a folder of shards, COCO or LVIS
            JSON, folder of images and label maps (`ID.mat` or `ID.png`), or folder of images.
        images: where the images are, if not beside their `ID.json` or map or, for COCO, in `images/` beside the JSON.

    Raises:
        InputError: none of these is there, or it is damaged.
    """
    path = expanded(path)
    if path.is_file() and path.suffix == ".json":
        return _whole(path, CocoSource(path, Path(images) if images is not None else path.parent / "images"))
    if path.is_file() and path.suffix == ".tar":
        return _shards(path, [path])
    if path.is_file():
        raise InputError(f"{path} is a file; {_EXPECTED}")
    if images is not None:
        return _open_apart(path, expanded(images))
    if path.is_dir() and (shards := sorted(path.glob("*.tar"))):
        return _shards(path, shards)
    seen = _survey_with_hint(path)
    pairs = [(p, p.with_suffix(".json")) for p in seen.images if _is_sidecar(p.with_suffix(".json"))]
    if pairs:
        found = seen.images
        made = _whole(path, _Sidecars(pairs), len(found) - len(pairs), _alone(path, pairs))
        return replace(made, survey=seen.without({sidecar for _, sidecar in pairs}))
    maps = find_pairs(list(seen.images))
    if maps:
        pictures = {picture for pair in maps for picture in pair}
        made = _whole(path, LabelMapSource(maps), without_masks=len(set(seen.images) - pictures))
        return replace(made, survey=seen.without(pictures))
    return replace(plain_images(path, seen.images), survey=seen)


def plain_images(path: str | Path, files: Sequence[Path] | None = None) -> Dataset:
    """A folder of images, annotations or not; or some files, `path` being what to call them."""
    if files is not None:
        return _whole(Path(path), _Images(list(files)))
    seen = survey(path)
    return replace(_whole(expanded(path), _Images(list(seen.images))), survey=seen)


def _survey_with_hint(path: Path) -> Survey:
    """`survey`; for annotations without photographs the message says how to name these."""
    try:
        return survey(path)
    except InputError:
        alone = sum(map(_is_sidecar, path.glob("*.json"))) if path.is_dir() else 0
        if not alone:
            raise
        raise InputError(
            f"{path} holds annotations ({alone} files like ID.json) and no images; name the folder of their images too "
            "(--images DIR, images=)"
        ) from None


def _whole(path: Path, source: Source, without_masks: int = 0, without_image: int = 0) -> Dataset:
    return Dataset(path, source, range(len(source)), without_masks, without_image)


def _alone(folder: Path, pairs: list[tuple[Path, Path]]) -> int:
    """Annotation files in a folder that belong to no photograph."""
    used = {sidecar.name for _, sidecar in pairs}
    return sum(1 for path in folder.glob("*.json") if path.name not in used and _is_sidecar(path))


def _shards(path: Path, shards: list[Path]) -> Dataset:
    source = ShardSource(shards)
    return _whole(path, source, source.without_masks)


def _open_apart(path: Path, images: Path) -> Dataset:
    """Annotations in one folder, the images in another."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; {_EXPECTED}")
    found = find_images(images)
    pairs = [(p, path / f"{p.stem}.json") for p in found if _is_sidecar(path / f"{p.stem}.json")]
    source: Source = _Sidecars(pairs)
    if not pairs:
        maps = find_pairs(found, path)
        source = LabelMapSource(maps)
    if not len(source):
        raise InputError(
            f"{path} holds no ID.json, ID.mat or ID.png for any of the {len(found)} images in {images}; "
            "name their folder"
        )
    return _whole(path, source, len(found) - len(source), _alone(path, pairs) if pairs else 0)


def _is_sidecar(path: Path) -> bool:
    """Whether a file beside an image holds annotations."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"annotations"' in file.read() if path.stat().st_size < 1 << 20 else True
