"""Which files are photographs: the formats that are opened, and how their names end.

Imaging libraries read dozens of formats, some of them programs in disguise: opening PostScript runs an interpreter on
it. Only these formats are opened, whatever a file is called.
"""

from __future__ import annotations

import contextlib
import importlib

from PIL import Image

_ENDINGS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png", "apng"),
    "WEBP": ("webp",),
    "TIFF": ("tif", "tiff"),
    "BMP": ("bmp",),
    "DIB": ("dib",),
    "GIF": ("gif",),
    "AVIF": ("avif", "avifs"),
    "JPEG2000": ("jp2", "j2k", "jpx", "jpf", "jpc", "j2c"),
    "PPM": ("ppm", "pgm", "pbm", "pnm"),
    "HEIF": ("heic", "heif", "hif"),
}
EXTENSIONS = frozenset(f".{ending}" for endings in _ENDINGS.values() for ending in endings)
"""How the names of photographs end, in lower case."""

EXPECTED = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PPM (HEIC where pillow-heif is installed)"

_STARTS = (
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop (PSD)"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (128, b"DICM", "DICOM"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypcrx", "Canon raw"),
    (4, b"ftyp", "a video"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
)
_HEAD = 1024
"""Bytes that `kind_of` looks at."""


def allowed_formats() -> list[str]:
    """Names, as Pillow has them, of the formats that are opened here."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return [name for name in _ENDINGS if name in Image.OPEN]


def kind_of(head: bytes) -> str | None:
    """What a file that is no photograph is, by its first bytes; None where nothing tells."""
    start = head[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n")
    for offset, magic, name in _STARTS:
        if head[offset : offset + len(magic)] == magic or (offset == 0 and start.startswith(magic)):
            return name
    lower = start.lower()
    if lower.startswith((b"<svg", b"<?xml")) and b"<svg" in lower:
        return "SVG"
    if lower.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    Image.init()
    for name, (_, accepts) in Image.OPEN.items():  # only looks at the bytes, opens nothing
        with contextlib.suppress(Exception):
            if accepts is not None and name not in _ENDINGS and accepts(head[:16]) is True:
                return name
    return None
