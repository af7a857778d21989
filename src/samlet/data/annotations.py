"""True masks as the published layouts write them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from samlet.data.masks import RLE, decode_rle, interior_point, rle_area, rle_box
from samlet.data.rle import MOST_CORNERS, MOST_POLYGONS, checked_code
from samlet.errors import InputError
from samlet.io.schema import SchemaError, checked, is_number

_LEAST_COORDINATES = 6
_DEEPEST = 8  # lists of polygons inside one another; the layout has one
_DRAWN_UNSEEN = 1 << 24  # pixels of a mask that is drawn whatever the photograph is


@dataclass(frozen=True)
class Annotation:
    """One true mask and its prompts.

    Attributes:
        rle: the mask, COCO RLE.
        point: x, y inside the mask, pixels of the original image.
        box: x0, y0, x1, y1 around the mask, pixels of the original image.
    """

    rle: RLE
    point: tuple[float, float]
    box: tuple[float, float, float, float]

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return rle_area(self.rle)


def annotation(rle: RLE, point: Any = None) -> Annotation | None:
    """An annotation of a mask, with the point that its annotator gave if that lies in the image, or an innermost one.

    None for an empty mask, which no prompt can point at.
    """
    if not rle_area(rle):
        return None
    height, width = rle["size"]
    x, y, width_of_box, height_of_box = rle_box(rle)
    if point is None or not (0 <= point[0] < width and 0 <= point[1] < height):
        point = interior_point(decode_rle(rle))
    return Annotation(rle, (float(point[0]), float(point[1])), (x, y, x + width_of_box, y + height_of_box))


def read_annotations(
    name: str,
    entries: Sequence[Any],
    size: tuple[int, int] | None,
    stored: Callable[[], tuple[int, int] | None] = lambda: None,
) -> tuple[tuple[Annotation, ...], tuple[str, ...]]:
    """Annotations of one image from COCO's or SA-1B's dictionaries.

    Args:
        name: of the image, for messages.
        entries: what the file lists.
        size: height and width, where the file says them; each entry's own otherwise.
        stored: height and width of the photograph itself, or None; asked only for masks of very many pixels, which
            are not drawn unless the photograph has as many.

    Returns:
        The masks that are not empty, and what is wrong with each entry that is no mask.
    """
    found, problems = [], []
    for number, entry in enumerate(entries):
        label = f"annotation {entry['id']}" if isinstance(entry, dict) and "id" in entry else f"annotation {number}"
        try:
            made = _read_one(entry, size, stored)
        except InputError as error:
            problems.append(f"{name}: {label[:80]} {error}")
        else:
            if made is not None:
                found.append(made)
    return tuple(found), tuple(problems)


def _read_one(
    entry: Any, size: tuple[int, int] | None, stored: Callable[[], tuple[int, int] | None]
) -> Annotation | None:
    rle = read_rle(entry, size)
    height, width = rle["size"]
    if height * width > _DRAWN_UNSEEN and stored() != (height, width):
        raise InputError(f"is of an image of {height} x {width} pixels; expected those of its photograph")
    return annotation(rle, _point(entry.get("point_coords")))


def _point(given: Any) -> tuple[float, float] | None:
    """The first of `point_coords`, if it is one."""
    first = given[0] if isinstance(given, list) and given else None
    if not isinstance(first, list) or len(first) != 2 or not all(is_number(value) for value in first):
        return None
    return float(first[0]), float(first[1])


def read_rle(entry: Any, size: tuple[int, int] | None) -> RLE:
    """The mask of one of COCO's or SA-1B's dictionaries.

    Args:
        entry: with `segmentation`: polygons or RLE.
        size: height and width of the image; those of an RLE if None.

    Raises:
        InputError: it is no mask.
    """
    if not isinstance(entry, dict):
        raise InputError(f"is a {type(entry).__name__}; expected an object with 'segmentation'")
    segmentation = entry.get("segmentation")
    if segmentation is None or segmentation == [] or segmentation == {}:
        beside = ", and a box is no mask" if entry.get("bbox") else ""
        raise InputError(f"has no segmentation{beside}; expected a polygon or an RLE")
    if isinstance(segmentation, list):
        segmentation = _polygons(segmentation)
        if size is None:
            raise InputError("is a polygon in a file that does not say the image's size; expected an RLE")
    elif not isinstance(segmentation, dict):
        raise InputError(f"has a segmentation that is a {type(segmentation).__name__}; expected a polygon or an RLE")
    elif size is None:
        sides = segmentation.get("size")
        if not isinstance(sides, list) or len(sides) != 2:
            raise InputError(f"has a segmentation of size {repr(sides)[:60]}; expected size and counts")
        size = sides[0], sides[1]
    return checked_code(segmentation, *size)


def _polygons(given: list[Any], depth: int = 0) -> list[list[float]]:
    """Polygons x0, y0, x1, y1, …, also where they are nested one level more or less, or listed as points.

    Raises:
        InputError: a coordinate is no number, or no polygon has three points.
    """
    if depth > _DEEPEST:
        raise InputError(f"has a segmentation of lists nested more than {_DEEPEST} deep; expected polygons")
    if len(given) > 2 * MOST_CORNERS:
        raise InputError(f"has polygons of more than {MOST_CORNERS} corners; expected fewer")
    if not any(isinstance(part, list) for part in given):
        wrong = next((value for value in given if not is_number(value)), None)
        if wrong is not None or None in given:
            raise InputError(f"has the coordinate {str(wrong)[:40]}; expected a finite number")
        if len(given) % 2:
            raise InputError(f"has a polygon of {len(given)} coordinates; expected x and y of each point")
        if len(given) < _LEAST_COORDINATES:
            raise InputError(f"has a polygon of {len(given) // 2} points; expected at least 3")
        return [[float(value) for value in given]]
    if not all(isinstance(part, list) for part in given):
        raise InputError("has numbers and lists side by side in its segmentation; expected polygons x0, y0, x1, y1, …")
    if all(len(part) == 2 and not isinstance(part[0], list) for part in given):
        return _polygons([value for part in given for value in part], depth + 1)
    if len(given) > MOST_POLYGONS:
        raise InputError(f"has {len(given)} polygons; expected at most {MOST_POLYGONS}")
    found: list[list[float]] = []
    short: InputError | None = None
    for part in given:
        try:
            found += _polygons(part, depth + 1)
        except InputError as error:
            if "points; expected" not in str(error):
                raise
            short = error  # such as LVIS and COCO have some beside whole ones
        if len(found) > MOST_POLYGONS:
            raise InputError(f"has more than {MOST_POLYGONS} polygons; expected at most that")
    if not found:
        raise short or InputError("has an empty segmentation; expected a polygon or an RLE")
    return found


class Sa1b(TypedDict):
    """What a JSON of SA-1B must have."""

    annotations: list


def read_sa1b(content: Any, where: str) -> Sa1b:
    """The JSON of one photograph in SA-1B's layout.

    Raises:
        InputError: it has no list of annotations.
    """
    try:
        return checked(content, Sa1b)
    except SchemaError as error:
        raise InputError(f"{where} has no 'annotations' as SA-1B's JSON has them: {error}") from error


def other_size(path: Path, shape: tuple[int, int], annotated: tuple[int, int]) -> str:
    """What to say where an image and its annotations, (height, width) each, differ in size."""
    said = (
        f"{path} is {shape[1]} wide and {shape[0]} high, but a mask of it {annotated[1]} and {annotated[0]}; "
        "expected them to agree"
    )
    if shape == annotated[::-1]:
        said += (
            ". The sides are swapped: the masks were probably drawn on the picture turned by its EXIF orientation; "
            "save the picture turned, without that tag"
        )
    return said
