"""Photographs as smaller JPEGs that fit a bound together, to take them to a machine with a GPU.

python scripts/pack_photographs.py FOLDER OUT [--longest 640] [--mib 48]

The longer side is at most --longest pixels; while all of them take more than --mib MiB, it is made an eighth smaller. A
JSON beside a photograph, as of an SA-1B folder, is copied, and its photograph keeps its size, for masks count pixels.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image

from samlet.data.images import find_images, read_image
from samlet.io.progress import followed

_LEAST = 256  # pixels
_QUALITY = 85


def packed(path: Path, longest: int) -> bytes:
    """A photograph as JPEG, its longer side at most so many pixels."""
    image = Image.fromarray(read_image(path))
    if not path.with_suffix(".json").is_file():
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def main() -> None:
    """Pack the photographs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--longest", type=int, default=640)
    parser.add_argument("--mib", type=float, default=48)
    options = parser.parse_args()
    paths, longest = find_images(options.folder), options.longest
    while True:
        found = {path: packed(path, longest) for path in followed(paths, f"{longest} px", "photograph", len(paths))}
        size = sum(map(len, found.values())) / 2**20
        if size <= options.mib:
            break
        if longest * 7 // 8 < _LEAST:
            raise SystemExit(f"{len(paths)} photographs take {size:.0f} MiB at {longest} px; expected {options.mib:g}")
        longest = longest * 7 // 8
    options.out.mkdir(parents=True, exist_ok=True)
    for path, content in found.items():
        (options.out / f"{path.stem}.jpg").write_bytes(content)
        if path.with_suffix(".json").is_file():
            shutil.copyfile(path.with_suffix(".json"), options.out / f"{path.stem}.json")
    print(f"{options.out}: {len(found)} photographs of at most {longest} px, {size:.1f} MiB")


if __name__ == "__main__":
    main()
