"""What stands at the head of a safetensors file and at the end of an archive, looked at before their readers do.

The readers are safe, but one takes the second of two tensors of a name, fields that the format does not have, and a
million tensors of nothing; and the other makes an object of every entry of an archive.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from samlet.checkpoints.prescan import DamagedError
from samlet.io.documents import DocumentError, parse_json
from samlet.io.schema import SchemaError, checked

MOST_TENSORS = 1 << 16
"""Of one file; the largest published model has some two thousand."""
_LARGEST_HEAD = 1 << 24  # bytes
_LARGEST_TABLE = 1 << 23  # bytes of an archive's table of contents; an entry has at least 46
_FIELDS = {"dtype", "shape", "data_offsets"}
_METADATA = "__metadata__"
_END, _LOCATOR, _END_64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_TAIL = (1 << 16) + 22  # bytes within which the end record of an archive begins


def check_safetensors(path: Path, size: int) -> None:
    """Look at the head of a safetensors file. What else is wrong with it, its reader says.

    Raises:
        DamagedError: it names something twice, has fields that the format does not have, or too many tensors.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if 8 + length > size:
            raise DamagedError(f"its header claims {length} bytes")
        if length > _LARGEST_HEAD:
            raise DamagedError(f"its header has {length} bytes; expected at most {_LARGEST_HEAD}")
        content = file.read(length)
    try:
        head = checked(parse_json(content, unique=True), dict)
        if len(head) > MOST_TENSORS:
            raise DamagedError(f"it has {len(head)} tensors; expected at most {MOST_TENSORS}")
        checked(head.get(_METADATA, {}), dict[str, str], _METADATA)
        for name, about in head.items():
            if name != _METADATA and (unknown := sorted(checked(about, dict, name).keys() - _FIELDS)):
                raise DamagedError(f"tensor {name[:80]} has {unknown[0][:80]!r}, which the format does not have")
    except DocumentError as error:
        raise DamagedError(f"its header {error}") from error
    except SchemaError as error:
        raise DamagedError(f"its header has {error}") from error


def check_archive(file: IO[bytes], size: int) -> None:
    """Look at the end of an archive, which says how large its table of contents is.

    Raises:
        DamagedError: the table is larger than that of any checkpoint.
    """
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    place = tail.rfind(_END)
    if place < 0 or len(tail) - place < 22:
        return  # which the reader of archives will say
    entries, table = struct.unpack_from("<HL", tail, place + 10)
    if place >= 20 and tail[place - 20 : place - 16] == _LOCATOR:
        (end,) = struct.unpack_from("<Q", tail, place - 12)
        file.seek(min(end, size))
        more = file.read(56)
        if len(more) == 56 and more[:4] == _END_64:
            entries, table = struct.unpack_from("<2Q", more, 32)
    if entries > MOST_TENSORS or table > _LARGEST_TABLE:
        raise DamagedError(
            f"its table of contents has {entries} entries in {table} bytes; expected at most {MOST_TENSORS} in "
            f"{_LARGEST_TABLE}"
        )
