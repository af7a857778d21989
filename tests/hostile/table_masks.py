"""Masks that are none: in COCO's JSON, SA-1B's files and shards, label maps and a detector's results."""

# ruff: noqa: ARG005 - what makes a row takes both folders
from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.hostile.conftest import SIZE, SQUARE, coco_content, sa1b_content, write_photographs
from tests.hostile.rows import Make, Row, all_of, nested, written

EVALUATE = "evaluate {base}/m --image-size 64 --prompt box --data"
WHOLE = {"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}
TEXT = sa1b_content("x")["annotations"][0]["segmentation"]["counts"]
DEEP = 100_000

SPOILED: list[tuple[str, Any, str]] = [
    ("an RLE of size 0", {"size": [0, 0], "counts": "0"}, "size"),
    ("an RLE of size 0 without counts", {"size": [0, 0], "counts": []}, "size"),
    ("an RLE of gigantic sides", {"size": [2**31, 2**31], "counts": "P1"}, "size"),
    ("an RLE of sides that make 2**62 pixels", {"size": [2**31, 2**31], "counts": [2**62]}, "size"),
    ("an RLE of sides beyond 64 bits", {"size": [2**70, 1], "counts": [2**70]}, "size"),
    ("an RLE of a negative side", {"size": [-48, 64], "counts": [3072]}, "size"),
    ("an RLE of swapped sides", {"size": [64, 48], "counts": [100, 20, 2952]}, "size"),
    ("an RLE one pixel too narrow", {"size": [48, 63], "counts": [100, 20, 2904]}, "size"),
    ("an RLE with sides as text", {"size": ["48", "64"], "counts": [3072]}, "size"),
    ("an RLE with three sides", {"size": [48, 64, 1], "counts": [3072]}, "size"),
    ("an RLE with a number for sides", {"size": 48, "counts": [3072]}, "size"),
    ("counts as text, cut short", {"size": list(SIZE), "counts": TEXT[:-2]}, "RLE"),
    ("counts as text, cut in a number", {"size": list(SIZE), "counts": TEXT[:1] + "o"}, "RLE"),
    ("counts as text, too long", {"size": list(SIZE), "counts": TEXT + "h1"}, "RLE"),
    ("counts as text of no RLE", {"size": list(SIZE), "counts": "\x00\x01\x02"}, "RLE"),
    ("counts as text beyond ASCII", {"size": list(SIZE), "counts": "äöü€"}, "RLE"),
    ("counts as text whose numbers never end", {"size": list(SIZE), "counts": "o" * 100_000}, "RLE"),
    ("counts as text, all zero", {"size": list(SIZE), "counts": "0" * 100}, "RLE"),
    ("empty counts as text", {"size": list(SIZE), "counts": ""}, "RLE"),
    ("fractions among counts", {"size": list(SIZE), "counts": [100.5, 20.5, 2951]}, "counts"),
    ("negative counts", {"size": list(SIZE), "counts": [-100, 3172]}, "counts"),
    ("true and false for counts", {"size": list(SIZE), "counts": [True, False, 3071]}, "counts"),
    ("lists for counts", {"size": list(SIZE), "counts": [[100], [2972]]}, "counts"),
    ("counts beyond 64 bits", {"size": list(SIZE), "counts": [10**30, 20]}, "counts"),
    ("null for counts", {"size": list(SIZE), "counts": None}, "counts"),
    ("a number for counts", {"size": list(SIZE), "counts": 3072}, "counts"),
    ("short counts", {"size": list(SIZE), "counts": [100, 20]}, "RLE of 120 pixels"),
    ("a polygon at 1e300", [[1e300, 10, 40, 10, 40, 30]], "coordinate"),
    ("a polygon far to the left", [[-1e9, 10, 40, 10, 40, 30]], "coordinate"),
    ("a polygon far to the right", [[10, 10, 1e9, 10, 40, 30]], "coordinate"),
    ("a polygon beyond 64 bits", [[10, 10, 10**30, 10, 40, 30]], "coordinate"),
    ("a polygon of a million corners", [[float(v % 60) for v in range(2_000_000)]], "corners"),
    ("a hundred thousand polygons", [[1, 1, 5, 1, 5, 5]] * 100_000, "polygons"),
    ("polygons 60 lists deep", json.loads("[" * 60 + "10,10,40,10,40,30" + "]" * 60), "nested"),
    ("a polygon of texts", [["10", "10", "40", "10", "40", "30"]], "coordinate"),
    ("a polygon of objects", [[{}, {}, {}, {}, {}, {}]], "coordinate"),
]

IMAGE_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("a height of 0", {"height": 0}, "lacks"),
    ("a negative width", {"width": -64}, "lacks"),
    ("a width of 2**40", {"width": 2**40}, "image"),
    ("a height of 1e300", {"height": 1e300}, "image"),
    ("a height as a list", {"height": [48]}, "lacks"),
    ("a name as a list", {"file_name": ["a0.png"]}, "image"),
    ("a name of a million letters", {"file_name": "a" * 1_000_000}, "image"),
    ("a name with a null", {"file_name": "a\x00.png"}, "image"),
    ("an id as an object", {"id": {"a": 1}}, "image"),
]


def coco(change: Callable[[dict[str, Any]], object]) -> Make:
    """A COCO JSON in which something is changed, and its images."""

    def make(here: Path, _base: Path) -> None:
        write_photographs(here / "images")
        content = coco_content()
        changed = change(content)
        (here / "a.json").write_text(changed if isinstance(changed, str) else json.dumps(content))

    return make


def sa1b(change: Callable[[dict[str, Any]], object]) -> Make:
    """An SA-1B folder in which something of one photograph is changed."""

    def make(here: Path, _base: Path) -> None:
        write_photographs(here / "d")
        for i in range(2):
            content = sa1b_content(f"a{i}.png")
            changed = change(content) if i == 0 else None
            text = changed if isinstance(changed, str) else json.dumps(content)
            (here / "d" / f"a{i}.json").write_text(text)

    return make


def shard(change: Callable[[dict[str, Any]], object]) -> Make:
    """A tar shard in which the JSON of one photograph is changed."""

    def make(here: Path, base: Path) -> None:
        with tarfile.open(here / "s.tar", "w") as archive:
            for i in range(2):
                content = sa1b_content(f"a{i}.png")
                changed = change(content) if i == 0 else None
                text = changed if isinstance(changed, str) else json.dumps(content)
                for name, data in ((f"a{i}.png", (base / "photos" / f"a{i}.png").read_bytes()),):
                    _add(archive, name, data)
                _add(archive, f"a{i}.json", text.encode())

    return make


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def lying_tar(here: Path, base: Path) -> None:
    """A shard whose last header says that its member has a terabyte."""
    shard(lambda _: None)(here, base)
    content = (here / "s.tar").read_bytes().rstrip(b"\0")
    info = tarfile.TarInfo("a9.json")
    info.size = 1 << 40
    picture = tarfile.TarInfo("a9.png")
    end = -len(content) % 512
    (here / "s.tar").write_bytes(
        content + b"\0" * end + picture.tobuf(tarfile.GNU_FORMAT) + info.tobuf(tarfile.GNU_FORMAT)
    )


def png(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of zeros, which are packed a thousandfold."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 6: 4}[colour]
    line = bytes(1 + width * channels * depth // 8)
    packer = zlib.compressobj(9)
    parts = [packer.compress(line) for _ in range(height)]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(parts) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def maps(name: str, content: bytes | Callable[[Path], object]) -> Make:
    """A photograph with a spoiled label map, and one with a sound one."""

    def make(here: Path, base: Path) -> None:
        (here / "p").mkdir()
        (here / "maps").mkdir()
        for i in range(2):
            Image.open(base / "photos" / f"a{i}.png").save(here / "p" / f"a{i}.png")
        labels = np.zeros(SIZE, np.uint8)
        labels[10:30, 10:40] = 1
        Image.fromarray(labels).save(here / "maps" / "a1.png")
        if callable(content):
            content(here / "maps" / name)
        else:
            (here / "maps" / name).write_bytes(content)

    return make


def _mat(segmentation: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        entry = np.zeros((1, 1), dtype=[("Segmentation", object)])
        entry["Segmentation"][0, 0] = segmentation
        cell = np.empty((1, 1), object)
        cell[0, 0] = entry
        savemat(path, {"groundTruth": cell}, do_compression=True)

    return write


def one(content: dict[str, Any], **fields: Any) -> None:
    content["annotations"][0].update(fields)


DETECTIONS = [{"image_id": 0, "category_id": 1, "bbox": [10, 10, 30, 20], "score": 0.9}]
DETECTOR = "evaluate {base}/m --image-size 64 --protocol box-detector --data {base}/coco.json --detections d.json"


CONVERT = "convert d --from sa1b --format coco --out o"
TO_PNG = "convert c --from coco --format png --out o"


def coco_folder(change: Callable[[dict[str, Any]], object]) -> Make:
    """Labels in COCO's format in which something is changed."""

    def make(here: Path, _base: Path) -> None:
        content = coco_content()
        change(content)
        (here / "c").mkdir()
        (here / "c" / "instances.json").write_text(json.dumps(content))

    return make


ROWS: list[Row] = [
    *(
        Row(
            f"COCO: {name}",
            f"{EVALUATE} a.json",
            0,
            f"annotation 0 .*{said}",
            coco(lambda c, s=spoiled: one(c, segmentation=s)),
        )
        for name, spoiled, said in SPOILED
    ),
    *(
        Row(
            f"SA-1B: {name}",
            f"{EVALUATE} d",
            0,
            "annotation 0 |agree",
            sa1b(lambda c, s=spoiled: one(c, segmentation=s)),
        )
        for name, spoiled, said in SPOILED
        if "polygon" not in name
    ),
    *(
        Row(f"COCO image: {name}", f"{EVALUATE} a.json", 0, said, coco(lambda c, f=fields: c["images"][0].update(f)))
        for name, fields, said in IMAGE_FIELDS
    ),
    Row(
        "COCO: no annotations", f"{EVALUATE} a.json", 2, "annotates no image", coco(lambda c: c.update(annotations=[]))
    ),
    Row("COCO: annotations a number", f"{EVALUATE} a.json", 2, "annotations", coco(lambda c: c.update(annotations=7))),
    Row("COCO: images an object", f"{EVALUATE} a.json", 2, "images", coco(lambda c: c.update(images={}))),
    Row("COCO: too deep", f"{EVALUATE} a.json", 2, "deep", coco(lambda c: '{"annotations": ' + nested(DEEP) + "}")),
    Row("COCO: too deep, unclosed", f"{EVALUATE} a.json", 2, "a.json", coco(lambda c: '{"annotations": ' + "[" * DEEP)),
    Row(
        "COCO: a deep segmentation",
        f"{EVALUATE} a.json",
        2,
        "deep",
        coco(lambda c: json.dumps(c).replace(json.dumps(SQUARE), nested(DEEP), 1)),
    ),
    Row("COCO: null", f"{EVALUATE} a.json", 2, "a.json", coco(lambda c: "null")),
    Row("COCO: empty", f"{EVALUATE} a.json", 2, "a.json", coco(lambda c: "")),
    Row("COCO: cut short", f"{EVALUATE} a.json", 2, "a.json", coco(lambda c: json.dumps(c)[:400])),
    Row(
        "COCO: a number of 10,000 digits",
        f"{EVALUATE} a.json",
        2,
        "digits",
        coco(lambda c: json.dumps(c).replace('"area": 600', '"area": ' + "9" * 10_000, 1)),
    ),
    Row(
        "COCO: not UTF-8",
        f"{EVALUATE} a.json",
        2,
        "a.json",
        all_of(coco(lambda c: None), written("a.json", b'{"images": [{"file_name": "\xff\xfe"}], "annotations": []}')),
    ),
    Row("COCO: image_id an object", f"{EVALUATE} a.json", 0, "annotation", coco(lambda c: one(c, image_id={"a": [1]}))),
    Row(
        "COCO: image_id infinite", f"{EVALUATE} a.json", 0, "annotation", coco(lambda c: one(c, image_id=float("inf")))
    ),
    Row(
        "COCO: an annotation is a number",
        f"{EVALUATE} a.json",
        0,
        "annotation",
        coco(lambda c: c["annotations"].insert(0, 5)),
    ),
    Row("COCO: a point that is a text", f"{EVALUATE} a.json", 0, "", coco(lambda c: one(c, point_coords="ab"))),
    Row("COCO: a point of one number", f"{EVALUATE} a.json", 0, "", coco(lambda c: one(c, point_coords=[[3]]))),
    Row("COCO: a point at 1e300", f"{EVALUATE} a.json", 0, "", coco(lambda c: one(c, point_coords=[[1e300, 3]]))),
    Row(
        "COCO: masks of swapped photographs",
        f"{EVALUATE} a.json",
        0,
        "EXIF",
        coco(lambda c: c["images"][0].update(height=64, width=48)),
    ),
    Row(
        "COCO: a folder with the name", f"{EVALUATE} a.json", 2, "a.json", lambda here, base: (here / "a.json").mkdir()
    ),
    Row("SA-1B: too deep", f"{EVALUATE} d", 2, "deep", sa1b(lambda c: '{"annotations": ' + nested(DEEP) + "}")),
    Row("SA-1B: annotations a number", f"{EVALUATE} d", 2, "annotations", sa1b(lambda c: c.update(annotations=7))),
    Row("SA-1B: image a list", f"{EVALUATE} d", 0, "", sa1b(lambda c: c.update(image=[1, 2]))),
    Row("SA-1B: cut short", f"{EVALUATE} d", 2, "a0.json", sa1b(lambda c: json.dumps(c)[:-9])),
    Row(
        "SA-1B: a mask of another photograph",
        f"{EVALUATE} d",
        0,
        "expected them to agree",
        sa1b(
            lambda c: (
                c["image"].update(height=4096, width=4096),
                one(c, segmentation={"size": [4096, 4096], "counts": [0, 4096 * 4096]}),
            )
        ),
    ),
    Row(
        "SA-1B: a mask of 400 megapixels",
        f"{EVALUATE} d",
        0,
        "annotation 0",
        sa1b(
            lambda c: (
                c["image"].update(height=20_000, width=20_000),
                one(c, segmentation={"size": [20_000, 20_000], "counts": [0, 4 * 10**8]}),
            )
        ),
    ),
    Row("shard: too deep", f"{EVALUATE} s.tar", 2, "deep", shard(lambda c: '{"annotations": ' + nested(DEEP) + "}")),
    Row("shard: annotations a number", f"{EVALUATE} s.tar", 2, "annotations", shard(lambda c: c.update(annotations=7))),
    Row("shard: image a list", f"{EVALUATE} s.tar", 0, "", shard(lambda c: c.update(image=[1, 2]))),
    Row(
        "shard: an RLE of size 0",
        f"{EVALUATE} s.tar",
        0,
        "annotation 0",
        shard(lambda c: one(c, segmentation={"size": [0, 0], "counts": ""})),
    ),
    Row("shard: a header that lies", f"{EVALUATE} s.tar", 2, "s.tar", lying_tar),
    Row(
        "shard: cut short",
        f"{EVALUATE} s.tar",
        2,
        "s.tar",
        all_of(
            shard(lambda c: None), lambda here, base: (here / "s.tar").write_bytes((here / "s.tar").read_bytes()[:1000])
        ),
    ),
    Row("shard: no tar", f"{EVALUATE} s.tar", 2, "s.tar", written("s.tar", b"hello" * 500)),
    Row(
        "label map of 400 megapixels",
        f"{EVALUATE} maps --images p",
        2,
        "a0.png",
        maps("a0.png", lambda path: path.write_bytes(png(20_000, 20_000))),
    ),
    Row(
        "label map of another size",
        f"{EVALUATE} maps --images p",
        0,
        "expected them to agree",
        maps("a0.png", lambda path: Image.fromarray(np.ones((100, 100), np.uint8)).save(path)),
    ),
    Row("label map cut short", f"{EVALUATE} maps --images p", 2, "a0.png", maps("a0.png", png(64, 48)[:60])),
    Row(
        "label map of a million labels",
        f"{EVALUATE} maps --images p",
        0,
        "",
        maps("a0.png", lambda path: Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)).save(path)),
    ),
    Row(
        "mat of 400 megapixels",
        f"{EVALUATE} maps --images p",
        2,
        "a0.mat",
        maps("a0.mat", lambda path: _mat(np.zeros((20_000, 20_000), np.uint8))(path)),
    ),
    Row("mat of text", f"{EVALUATE} maps --images p", 2, "a0.mat", maps("a0.mat", _mat("hello"))),
    Row("mat that is no mat", f"{EVALUATE} maps --images p", 2, "a0.mat", maps("a0.mat", b"hello" * 100)),
    Row("mat that is empty", f"{EVALUATE} maps --images p", 2, "a0.mat", maps("a0.mat", b"")),
    Row("detections: too deep", DETECTOR, 2, "d.json", written("d.json", nested(DEEP))),
    Row("detections: a number", DETECTOR, 2, "d.json", written("d.json", "7")),
    Row(
        "detections: a box of texts",
        DETECTOR,
        2,
        "bbox",
        written("d.json", [{**DETECTIONS[0], "bbox": ["a", 1, 2, 3]}]),
    ),
    Row(
        "detections: a box of infinities",
        DETECTOR,
        2,
        "bbox",
        written("d.json", '[{"image_id": 0, "category_id": 1, "bbox": [1, Infinity, 2, 3], "score": 1}]'),
    ),
    Row(
        "detections: an image_id as a list",
        DETECTOR,
        2,
        "image_id",
        written("d.json", [{**DETECTIONS[0], "image_id": [1]}]),
    ),
    Row("detections: a score as an object", DETECTOR, 2, "score", written("d.json", [{**DETECTIONS[0], "score": {}}])),
    Row("detections: empty", DETECTOR, 2, "d.json", written("d.json", "")),
    Row("detections: not there", DETECTOR, 2, "d.json"),
    *(
        Row(f"SA-1B to convert: {name}", CONVERT, 2, "mask 0", sa1b(lambda c, s=spoiled: one(c, segmentation=s)))
        for name, spoiled, _ in SPOILED
    ),
    *(
        Row(f"SA-1B to convert: {name}", CONVERT, 2, "samlet: ", sa1b(lambda c, f=fields: c["image"].update(f)))
        for name, fields, _ in IMAGE_FIELDS
        if "id" not in fields
    ),
    Row("SA-1B to convert: a name above", CONVERT, 2, "named '..'", sa1b(lambda c: c["image"].update(file_name=".."))),
    Row(
        "COCO to convert: a category as a list",
        TO_PNG,
        2,
        "categor",
        coco_folder(lambda c: c["categories"][0].update(id=[1])),
    ),
    Row(
        "COCO to convert: an image twice",
        TO_PNG,
        2,
        "would be one",
        coco_folder(lambda c: c["images"][1].update(file_name="a0.png")),
    ),
]
