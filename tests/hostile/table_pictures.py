"""Pictures that are none, and names that no text holds."""

# ruff: noqa: ARG005 - what makes a row takes both folders
from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.rows import Make, Row, all_of, written
from tests.hostile.table_masks import png

ONE = "--point 5,5 --model {base}/m --image-size 64 --out o"
MANY = "--everything --points-per-side 2 --image-size 64 --model {base}/m --workers 1 --out o"
LABEL = "label --teacher {base}/m --points-per-side 2 --image-size 64 --workers 1 --out o --images"


def picture(name: str, change: Callable[[bytes], bytes], size: tuple[int, int] = (64, 48), **options: object) -> Make:
    """A picture that Pillow writes, its bytes changed."""

    def make(here: Path, _base: Path) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path, **options)
        path.write_bytes(change(path.read_bytes()))

    return make


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def bomb(name: str, side: int, colour: int, depth: int = 8) -> Make:
    """A PNG of few bytes and many pixels."""
    return lambda here, base: written(name, png(side, side, depth, colour))(here, base)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(kind: bytes, data: bytes) -> Callable[[bytes], bytes]:
    """A PNG with one more chunk after its head."""
    return lambda content: content[:33] + chunk(kind, data) + content[33:]


def tiff(tags: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A TIFF of one directory, by (tag, type, count, value)."""
    head = b"II*\0" + struct.pack("<I", 8)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return head + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + bytes(64)


BASIC = [
    (256, 3, 1, 8),
    (257, 3, 1, 8),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (278, 3, 1, 8),
    (279, 4, 1, 64),
]
EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2000) + b"\xff" * 200


def _odd_name(here: Path, base: Path) -> None:
    (here / "p").mkdir()
    for name in (b"a\xff\xfe.png", b"b.png"):
        (here / "p" / os.fsdecode(name)).write_bytes((base / "photos" / "a0.png").read_bytes())


def _folder(here: Path, base: Path) -> None:
    (here / "p" / "adir.jpg").mkdir(parents=True)
    (here / "p" / "a.png").write_bytes((base / "photos" / "a0.png").read_bytes())
    (here / "p" / "b.png").write_bytes((base / "photos" / "a1.png").read_bytes())


PICTURES: list[tuple[str, str, Make]] = [
    ("a bomb of 13,000 pixels a side", "a.png", bomb("a.png", 13_000, 2)),
    ("a bomb of 30,000 pixels a side", "a.png", bomb("a.png", 30_000, 0, 1)),
    (
        "a head of 2**31 pixels a side",
        "a.png",
        written("a.png", png(8, 8).replace(struct.pack(">II", 8, 8), struct.pack(">II", 2**31 - 1, 2**31 - 1))),
    ),
    ("no pixels", "a.png", written("a.png", png(8, 8).replace(struct.pack(">II", 8, 8), struct.pack(">II", 0, 8)))),
    ("a PNG cut short", "a.png", picture("a.png", _cut(0.4))),
    ("a PNG cut in its head", "a.png", picture("a.png", lambda c: c[:20])),
    ("a PNG with a wrong checksum", "a.png", picture("a.png", lambda c: c[:60] + bytes([c[60] ^ 255]) + c[61:])),
    ("a PNG chunk that says 2 GB", "a.png", picture("a.png", lambda c: c[:33] + b"\x7f\xff\xff\xf0tEXt" + c[33:])),
    (
        "a PNG text that unpacks to 200 MB",
        "a.png",
        picture("a.png", lambda c: with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000)))(c)),
    ),
    ("a JPEG cut short", "a.jpg", picture("a.jpg", _cut(0.5))),
    ("a JPEG of zeros", "a.jpg", picture("a.jpg", lambda c: c[:200] + bytes(len(c) - 200))),
    (
        "a JPEG that says 65,500 pixels a side",
        "a.jpg",
        picture("a.jpg", lambda c: c.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 65_500, 65_500), 1)),
    ),
    ("a WebP cut short", "a.webp", picture("a.webp", _cut(0.5))),
    ("a GIF cut short", "a.gif", picture("a.gif", _cut(0.5))),
    (
        "a BMP that says it is larger",
        "a.bmp",
        picture("a.bmp", lambda c: c[:18] + struct.pack("<ii", 60_000, 60_000) + c[26:]),
    ),
    ("a TIFF without tags", "a.tif", written("a.tif", tiff([]))),
    ("a TIFF whose tags lie far away", "a.tif", written("a.tif", b"II*\0\xff\xff\xff\x7f" + bytes(64))),
    (
        "a TIFF of a billion strips",
        "a.tif",
        written("a.tif", tiff([*BASIC[:5], (273, 4, 1_000_000_000, 8), (279, 4, 1_000_000_000, 8)])),
    ),
    ("a TIFF of no size", "a.tif", written("a.tif", tiff([(256, 3, 1, 0), *BASIC[1:]]))),
    ("a TIFF of text sizes", "a.tif", written("a.tif", tiff([(256, 2, 4, 0x61616161), *BASIC[1:]]))),
    (
        "a TIFF whose pages turn in a circle and whose strip is short",
        "a.tif",
        written("a.tif", tiff([*BASIC[:5], (273, 4, 1, 1 << 30), *BASIC[6:]], 8)),
    ),
    ("a PPM that says it is larger", "a.ppm", written("a.ppm", b"P6\n100000 100000\n255\n" + bytes(100))),
    ("a PPM of letters", "a.ppm", written("a.ppm", b"P3\nx y\n255\n1 2 3")),
    ("PostScript", "a.png", written("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n")),
    ("nothing at all", "a.png", written("a.png", b"")),
    ("a folder", "a.png", lambda here, base: (here / "a.png").mkdir()),
    ("a pipe", "a.png", lambda here, base: os.mkfifo(here / "a.png")),
    ("a dangling link", "a.png", lambda here, base: (here / "a.png").symlink_to(here / "nowhere")),
    ("no file", "nothing.png", lambda here, base: None),
]

ROWS: list[Row] = [
    *(Row(name, f"segment {file} {ONE}", 2, file, make) for name, file, make in PICTURES),
    Row(
        "EXIF of garbage",
        f"segment a.jpg {ONE}",
        0,
        "",
        picture("a.jpg", lambda c: c[:2] + b"\xff\xe1" + struct.pack(">H", len(EXIF) + 2) + EXIF + c[2:]),
        left=("o",),
    ),
    Row(
        "a PNG profile that is none",
        f"segment a.png {ONE}",
        0,
        "",
        picture("a.png", with_chunk(b"iCCP", b"a\0\0hello")),
        left=("o",),
    ),
    Row(
        "a limit of pixels below the picture's",
        f"segment a.png {ONE} --max-pixels 1000",
        2,
        "--max-pixels",
        picture("a.png", lambda c: c),
    ),
    Row("a device", f"segment /dev/zero {ONE}", 2, "/dev/zero"),
    Row("a name too long", f"segment {'x' * 4000}.png {ONE}", 2, "xxx"),
    Row("no such user", f"segment ~nobody-such/a.png {ONE}", 2, "nobody-such"),
    Row("a folder with a folder called adir.jpg", f"segment p {MANY}", 0, "", _folder, left=("o",)),
    Row("a folder with a folder called adir.jpg, labelled", f"{LABEL} p", 0, "", _folder, left=("o",)),
    Row(
        "a folder with a folder called adir.jpg, distilled",
        "distill --teacher {base}/m --student {base}/m --data p --out o --steps 1 --image-size 64",
        2,
        "no masks",
        _folder,
        left=("o-labels", "o"),
    ),
    Row(
        "a folder of broken pictures",
        f"segment p {MANY}",
        1,
        "failed",
        all_of(written("p/a.png", b""), written("p/b.jpg", b"x")),
        left=("o",),
    ),
    Row("a folder with a bomb", f"segment p {MANY}", 1, "p", bomb("p/a.png", 13_000, 2), left=("o",)),
    Row("a folder of nothing", f"segment p {MANY}", 2, "p", lambda here, base: (here / "p").mkdir()),
    Row("a folder that is none", f"{LABEL} nothing", 2, "nothing"),
    Row("names that are not UTF-8", f"segment p {MANY} --json", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, labelled", f"{LABEL} p", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, as COCO", f"{LABEL} p --format coco", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, as labelme", f"{LABEL} p --format labelme", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, as YOLO", f"{LABEL} p --format yolo", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, as PNG", f"{LABEL} p --format png", 0, "", _odd_name, left=("o",)),
    Row("names that are not UTF-8, as label maps", f"{LABEL} p --format label-map", 0, "", _odd_name, left=("o",)),
    Row(
        "names that are not UTF-8, evaluated",
        "evaluate {base}/m --data p --reference {base}/m --image-size 64 --out o --json",
        0,
        "",
        _odd_name,
        left=("o",),
    ),
    Row("a video that is none", f"segment a.mp4 {MANY}", 2, "a.mp4", written("a.mp4", b"hello" * 100)),
    Row("an empty video", f"segment a.mp4 {MANY}", 2, "a.mp4", written("a.mp4", b"")),
]
