"""Label files in another format, and fewer masks of them: by predicted IoU, stability and area."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from samlet.data.masks import rle_area, rle_box
from samlet.data.sources import Entry, open_source
from samlet.errors import InputError, NothingLeftError
from samlet.inference.everything.generator import Everything
from samlet.io.jsons import dumps
from samlet.io.paths import expanded
from samlet.io.progress import progress_bar
from samlet.io.writing import writable_path, write_json
from samlet.labelling.output import FAILURES, RECIPE, check_folder, clear_folder
from samlet.labelling.review import photograph_of
from samlet.labelling.sieve import REASONS, Sieve
from samlet.labels import LabelFormat, LabelledImage, format_of, label_format, read_labels
from samlet.labels.format import OBJECT
from samlet.runs.folder import whole_recipe, working_in

_LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a folder of converted labels holds.

    Attributes:
        images: with labels, earlier runs included.
        masks: of these images.
        dropped: masks that were left out, by reason; see `REASONS`.
        unscored: masks that were kept although a threshold was given, for they say no such score: people drew them.
        failed: why images have no labels, by name.
        source: the format that was read.
        classes: of the masks that were kept; `object` alone where nobody named one.
        seconds: of this run.
    """

    images: int
    masks: int
    dropped: Mapping[str, int]
    unscored: int
    failed: Mapping[str, str]
    source: str
    classes: tuple[str, ...]
    seconds: float


def convert_labels(
    labels: str | Path,
    out: str | Path,
    format: str,
    *,
    images: str | Path | None = None,
    source: str | None = None,
    pred_iou_thresh: float | None = None,
    stability_score_thresh: float | None = None,
    min_area: float = 0.0,
    class_name: str | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Converted:
    """Write the label files of a folder in another format, or in the same with fewer masks.

    The folder that is read is not changed. The same call on the same folder continues where an earlier one was stopped.
    Masks without a score, drawn by people, pass every threshold.

    Args:
        labels: a folder that `samlet label` or `samlet segment` wrote, corrected or not.
        out: a new folder, or that of an earlier run.
        format: one of `samlet.labels.FORMATS`.
        images: the folder of the photographs, if they are not where the labels say, beside them, or in `images/`.
        source: the format that is read; told by what is in the folder if None.
        pred_iou_thresh: masks of a predicted IoU of at most this are dropped.
        stability_score_thresh: masks less stable than this are dropped.
        min_area: masks that cover a smaller share of the image are dropped, and empty ones always.
        class_name: of every mask; if None each keeps its own, which is `object` in formats without classes.
        tolerance: pixels by which polygons may leave their masks, in formats with polygons; 1 if None.
        overwrite: begin again where an earlier run stands.
        progress: show a bar.

    Raises:
        InputError: no labels, damaged ones, photographs that would share a file, settings that cannot be, or a folder
            that holds something else or a run with other settings.
        NothingLeftError: no mask stays, or no photograph is there.
    """
    start = time.perf_counter()
    layout, sieve = label_format(format), Sieve(pred_iou_thresh, stability_score_thresh, min_area)
    settings = layout.settings(class_name, tolerance)
    folder, target = expanded(labels), writable_path(Path(out))
    source = source or format_of(folder)
    if folder.resolve().is_relative_to(target):
        raise InputError(f"{target} is or holds the labels that are read; name another folder, they stay as they are")
    found = _named_once(read_labels(folder, source), folder, layout)
    sieve.check(found, folder, source)
    kept = [sieve.kept(one) for one in found]
    count = sum(len(one.objects) for one in kept)
    if not count:
        raise NothingLeftError(f"none of the masks in {folder} is left ({sieve.told()}); ask for less")
    classes = tuple(sorted({one.class_name for image in kept for one in image.objects}))
    if class_name is None:
        settings = replace(settings, classes=classes)
    recipe = whole_recipe(
        {
            "format": format,
            "labels": _digest(found),
            **{name: value for name, value in (("above", sieve.above), ("least", sieve.least)) if value is not None},
            **({"min_area": min_area} if min_area else {}),
            **layout.recipe(settings),
            **({"classes": list(settings.classes)} if layout.classes and settings.classes else {}),
        }
    )
    check_folder(target, recipe, overwrite)
    entries, failed = _entries(kept, folder, images, layout)
    if not entries:
        name, reason = next(iter(failed.items()))
        raise NothingLeftError(f"all {len(failed)} images failed; the first, {name}: {reason}")
    with working_in(target):
        if overwrite:
            clear_folder(target)
        write_json(target / RECIPE, recipe)
        writer = layout.writer(target, settings)
        done = writer.done() & {entry.name for entry, _ in entries}
        with progress_bar("converting", "image", len(entries), len(done), progress) as bar:
            for entry, image in entries:
                if entry.name in done:
                    continue
                bar.update()
                try:
                    writer.write(entry, _masks(image, entry, layout, own_classes=class_name is None))
                    done.add(entry.name)
                except InputError as error:
                    failed[entry.name] = str(error)
        writer.finish()
        (target / FAILURES).unlink(missing_ok=True)
        if failed:
            write_json(target / FAILURES, {"failed": failed})
    return Converted(
        images=len(done),
        masks=sum(len(image.objects) for entry, image in entries if entry.name in done),
        dropped={reason: sieve.dropped[reason] for reason in REASONS},
        unscored=sieve.unscored,
        failed=failed,
        source=source,
        classes=classes if class_name is None else (class_name,),
        seconds=time.perf_counter() - start,
    )


def lost_classes(result: Converted, format: str) -> tuple[str, ...]:
    """Classes that the format which was written has no place for."""
    return () if label_format(format).classes or result.classes == (OBJECT,) else result.classes


def _named_once(found: Iterable[LabelledImage], folder: Path, layout: LabelFormat) -> list[LabelledImage]:
    """The images under names that can be files inside of a folder, no two of one file.

    Raises:
        InputError: there is none, a name that cannot be, or two that are one.
    """
    images = [replace(one, name=_inside(one.name, folder)) for one in found]
    if not images:
        raise InputError(f"{folder} holds no labels; expected a folder that `samlet label` or `samlet segment` wrote")
    files: dict[str, str] = {}
    for name in (one.name for one in images):
        file = name if layout.one_file else Path(name).stem
        if file in files:
            raise InputError(
                f"{folder} has labels of {files[file]} and of {name}, which would be one in {layout.name}; rename one "
                "of the photographs and its labels, or convert them one by one"
            )
        files[file] = name
    return images


def _inside(name: str, folder: Path) -> str:
    """A path inside of a folder: of one that leads out of it, as other tools write them, the last part."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        path = PurePosixPath(path.name)
    long = max(len(os.fsencode(part)) for part in (*path.parts, "")) > _LONGEST
    if "\0" in name or long or path.stem in ("", ".", ".."):
        raise InputError(f"{folder} has labels of a photograph named {name[:80]!r}; expected the name of a file")
    return path.as_posix()


def _digest(found: Iterable[LabelledImage]) -> str:
    """Of all that the labels say, so that a run is not continued with others."""
    digest = hashlib.sha256()
    for image in found:
        objects = [(one.rle["size"], one.rle["counts"], one.class_name, dict(one.scores)) for one in image.objects]
        digest.update(dumps([image.name, image.size, objects]).encode())
    return digest.hexdigest()


def _entries(
    kept: Sequence[LabelledImage], folder: Path, images: str | Path | None, layout: LabelFormat
) -> tuple[list[tuple[Entry, LabelledImage]], dict[str, str]]:
    """The photograph of each image, and why others have none where the format needs it, or the size is not known."""
    there, taken = _photographs(images), {one.name for one in kept}
    entries: list[tuple[Entry, LabelledImage]] = []
    failed: dict[str, str] = {}
    for one in kept:
        photograph = _photograph(one.name, folder, there)
        if photograph is None and (layout.photographs or not all(one.size)):
            failed[one.name] = "its photograph was not found; name the folder of the photographs (--images)"
            continue
        entry = photograph or Entry(one.name, Path(one.name))
        if entry.name in taken:  # by these labels, or by others
            entry = replace(entry, name=one.name)
        taken.add(entry.name)
        entries.append((entry, one))
    return entries, failed


def _photograph(name: str, folder: Path, there: Mapping[str, Entry] | None) -> Entry | None:
    """The photograph of some labels under their name, or under its own where the labels know its stem alone."""
    if there is None:
        path = photograph_of(name, folder, None)
        return None if path is None else Entry(name, path)
    found = there.get(name) or there.get(Path(name).name)
    if found is not None and Path(name).suffix:
        return replace(found, name=name)
    return found or there.get(Path(name).stem)


def _photographs(images: str | Path | None) -> dict[str, Entry] | None:
    """The photographs of a folder by their names; by the last part, and by the stem, where those are one's alone."""
    if images is None:
        return None
    folder = expanded(images)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected the folder of the photographs")
    found = list(open_source(folder))
    short = Counter(part for one in found for part in {Path(one.name).name, Path(one.name).stem})
    named = {part: one for one in found for part in (Path(one.name).name, Path(one.name).stem) if short[part] == 1}
    return named | {one.name: one for one in found}


def _masks(image: LabelledImage, entry: Entry, layout: LabelFormat, own_classes: bool) -> Everything:
    """The masks as everything mode gives them.

    Raises:
        InputError: the photograph cannot be read, or has another size.
    """
    size = image.size
    if layout.photographs or not all(size):
        height, width = entry.read().shape[:2]
        if all(size) and size != (height, width):
            raise InputError(
                f"the photograph is {width} wide and {height} high, and its labels are of {size[1]} x {size[0]}; "
                "expected the same photograph (of stored pixels with --stored-pixels)"
            )
        size = height, width
    records: list[Any] = []
    for one in image.objects:
        record = {"segmentation": one.rle, "area": rle_area(one.rle), "bbox": list(rle_box(one.rle)), **one.scores}
        if layout.classes and own_classes:
            record["class_name"] = one.class_name
        records.append(record)
    return Everything(records, 0, 0.0, size)
