"""One photograph of a dataset."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samlet.data.annotations import Annotation
from samlet.data.images import RGBImage, decode_image, read_image


@dataclass(frozen=True)
class Sample:
    """A photograph and what is known about it.

    Attributes:
        path: where it is; inside a shard, the shard's path and its name there.
        annotations: its true masks.
        identity: what a COCO JSON calls it.
        content: reads its file, if that is no file of its own.
        problems: what is wrong with annotations that are left out, one message each.
    """

    path: Path
    annotations: tuple[Annotation, ...] = field(default=())
    identity: Any = None
    content: Callable[[], bytes] | None = None
    problems: tuple[str, ...] = ()

    def image(self, upright: bool = False) -> RGBImage:
        """(H, W, 3) uint8 RGB; as stored, as annotations are on the stored pixels, or turned upright.

        Raises:
            InputError: it cannot be read.
        """
        if self.content is None:
            return read_image(self.path, upright)
        return decode_image(io.BytesIO(self.content()), str(self.path), upright)
