"""The doors that everything from files goes through: run-length codes, JSON, schemas, bounds, names."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samlet.bounds import Bounds
from samlet.data.rle import checked_code, numbers_of
from samlet.errors import InputError
from samlet.io import jsons
from samlet.io.documents import DEEPEST, DocumentError, Watched, parse_json
from samlet.io.names import escaped, unescaped
from samlet.io.schema import SchemaError, checked


def runs(mask: np.ndarray) -> list[int]:
    """Counts of a mask in columns, off first, one pixel at a time."""
    counts, value = [0], False
    for pixel in mask.ravel(order="F"):
        if bool(pixel) != value:
            counts.append(0)
            value = bool(pixel)
        counts[-1] += 1
    return counts


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_counts_are_those_of_pycocotools(density):
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (7, 5), (64, 300)):
        mask = rng.random((height, width)) < density
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert numbers_of(code["counts"]).tolist() == runs(mask)
        text = {"size": [height, width], "counts": code["counts"].decode()}
        assert checked_code(text, height, width) == text
        assert checked_code({"size": [height, width], "counts": runs(mask)}, height, width) == text


@pytest.mark.parametrize("size", [1 << 10, 1 << 16])
def test_a_file_is_looked_at_as_it_is_parsed(size):
    text = json.dumps({"images": [{"file_name": 'a"[[[\\'}] * 9000, "counts": "0" * 5000}).encode()
    whole = Watched(io.BytesIO(text), boundary=2)
    assert b"".join(iter(lambda: whole.read(size), b"")) == text
    for bad in (text[:-1] + b', "x": ' + b"[" * DEEPEST, text[:-1] + b', "x": ' + b"1" * 2000):
        watched = Watched(io.BytesIO(bad), boundary=2)
        with pytest.raises(DocumentError):
            list(iter(lambda w=watched: w.read(size), b""))


def test_depth_counts_brackets_outside_of_texts():
    assert parse_json(json.dumps(["[" * 500, 1])) == ["[" * 500, 1]
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(DocumentError, match="nested too deeply"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    with pytest.raises(DocumentError, match="names 'a' twice"):
        parse_json('{"a": 1, "a": 2}', unique=True)


class Line(TypedDict):
    image: str
    masks: list[dict[str, float]]
    kind: NotRequired[Literal["a", "b"]]


@dataclasses.dataclass
class Widths:
    heads: tuple[tuple[int, ...], ...]
    eps: float = 1e-6
    side: int | None = None


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ({"image": 3, "masks": []}, Line, "image is 3; expected a text"),
        ({"masks": []}, Line, "image is missing; expected a text"),
        ({"image": "a", "masks": [{}, {"iou": True}]}, Line, r"masks\[1\].iou is True; expected a finite number"),
        ({"image": "a", "masks": [], "kind": "c"}, Line, "kind is 'c'; expected one of a, b"),
        ({"heads": [[1], [2.0]]}, Widths, r"heads\[1\]\[0\] is 2.0; expected a whole number"),
        ({"heads": [], "eps": float("nan")}, Widths, "eps is nan; expected a finite number"),
        ({"heads": [], "side": "x"}, Widths, "side is 'x'; expected a whole number"),
        ({"heads": [], "colour": 1}, Widths, "colour is unknown"),
        ([1], Line, "the whole is .*; expected an object"),
    ],
)
def test_a_field_is_named_by_its_path(value: Any, kind: Any, said: str):
    with pytest.raises(SchemaError, match=said):
        checked(value, kind)


def test_what_fits_comes_back_with_the_types_that_were_asked_for():
    assert checked({"heads": [[1, 2], []], "eps": 1}, Widths) == {"heads": ((1, 2), ()), "eps": 1.0}
    content = {"image": "a", "masks": [{"iou": 1}], "more": [None]}
    assert checked(content, Line) == {"image": "a", "masks": [{"iou": 1.0}], "more": [None]}


def test_names_that_are_no_utf8_survive_json_and_texts():
    name = b"a\xff\xfe\xc3\xa4.png".decode("utf-8", "surrogateescape")
    text = jsons.dumps({"image": name}, ensure_ascii=False)
    assert json.loads(text.encode("utf-8"))["image"] == name
    assert unescaped(escaped(name)) == name


def test_bounds_say_value_and_expectation():
    assert Bounds(1, 3).check("--threads", 3) == 3
    with pytest.raises(InputError, match="--threads is 4; expected 1 to 3"):
        Bounds(1, 3).check("--threads", 4)
