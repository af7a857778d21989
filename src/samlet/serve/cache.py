"""Embeddings of the last pictures, bounded in number and in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from samlet.inference.predictor import Predictor


@dataclass(frozen=True)
class Held:
    """A picture that prompts may ask about.

    Attributes:
        identity: by which clients name it.
        predictor: with its embedding set.
        content: the file, for everything mode.
        size: height and width, pixels.
        bytes: of memory that it takes.
    """

    identity: str
    predictor: Predictor
    content: bytes
    size: tuple[int, int]
    bytes: int


class Cache:
    """The pictures that were used last.

    Args:
        images: how many are kept at most; one is kept in any case.
        max_bytes: that they take at most.
    """

    def __init__(self, images: int, max_bytes: int) -> None:
        self._images, self._max_bytes = images, max_bytes
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, identity: str) -> Held | None:
        """A picture, which counts as used now."""
        with self._lock:
            if identity in self._held:
                self._held.move_to_end(identity)
            return self._held.get(identity)

    def put(self, held: Held) -> None:
        """Keep a picture, and let go of the longest unused ones that no longer fit."""
        with self._lock:
            self._held[held.identity] = held
            self._held.move_to_end(held.identity)
            while len(self._held) > 1 and (len(self._held) > self._images or self._bytes() > self._max_bytes):
                self._held.popitem(last=False)

    def _bytes(self) -> int:
        return sum(one.bytes for one in self._held.values())

    def counts(self) -> tuple[int, int]:
        """Pictures and bytes."""
        with self._lock:
            return len(self._held), self._bytes()
