"""One photograph of a dataset."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from samlet.data.annotations import Annotation
from samlet.data.images import RGBImage, decode_image, faces_upright, read_image


@dataclass(frozen=True)
class Sample:
    """A photograph and what is known about it.

    Attributes:
        path: where it is; inside a shard, the shard's path and its name there.
        annotations: its true masks.
        identity: what a COCO JSON calls it.
        content: reads its file, if that is no file of its own.
        problems: what is wrong with annotations that are left out, one message each.
        size: height and width that its file of annotations says, pixels; those of its masks if None.
    """

    path: Path
    annotations: tuple[Annotation, ...] = field(default=())
    identity: Any = None
    content: Callable[[], bytes] | None = None
    problems: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    def image(self, upright: bool | None = None) -> RGBImage:
        """(H, W, 3) uint8 RGB, upright by its EXIF orientation, or as the pixels are stored where its masks lie there.

        Args:
            upright: which of the two; if None, as the size of its masks says, and upright where that cannot tell.

        Raises:
            InputError: it cannot be read.
        """
        if self.content is not None:
            return self._decoded(io.BytesIO(self.content()), upright)
        if not self.path.is_file():
            return read_image(self.path)  # which says that there is none
        with self.path.open("rb") as file:
            return self._decoded(file, upright)

    def _decoded(self, file: BinaryIO, upright: bool | None) -> RGBImage:
        if upright is not None:
            return decode_image(file, str(self.path), upright)
        size = self.size
        if size is None and self.annotations:
            height, width = self.annotations[0].rle["size"]
            size = height, width
        if size is None:
            return decode_image(file, str(self.path))
        return decode_image(file, str(self.path), faces_upright(file, size), forced=True)
