"""Embeddings of a frozen teacher on disk, so that it never runs twice on a picture.

Shards of a few dozen embeddings, memory-mapped. A row is found by the digest of the photograph's file, in a folder that
names the teacher's weights and the input size; every row has a checksum. So nothing stale or damaged is ever used.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Hashable, Iterable
from math import prod
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.data.images import RGBImage
from samlet.io.documents import read_json
from samlet.io.paths import expanded
from samlet.io.progress import progress_bar
from samlet.io.schema import checked
from samlet.io.writing import new_file, write_json
from samlet.models.embedding import Embedding, embedding_of, maps_of
from samlet.runs.distributed import DistributedContext

_SHARD = 64


class _Described(TypedDict):
    rows: list[tuple[str, int]]
    shapes: NotRequired[list[list[int]]]


class Readable(Protocol):
    """Pictures by key: photographs by path, see `samlet.training.batches.ImageDataset`, or views, see `FixedViews`."""

    def digest(self, key: Any, /) -> str | None:
        """SHA-256 of what the picture is made from; None if it cannot be used."""
        ...

    def read(self, key: Any, /) -> RGBImage | None:
        """The picture; None if it cannot be used."""
        ...

    def prepare(self, image: RGBImage) -> Tensor:
        """(3, S, S) for the teacher's encoder."""
        ...


class EmbeddingCache:
    """Embeddings float32 of pictures, (C, h, w) or several such maps, by key.

    Args:
        folder: holds the caches of any teachers.
        teacher: fingerprint of the teacher's weights.
        image_size: side of the encoder's input, pixels.
        half: keep them in half precision, which takes half of the disk.
    """

    def __init__(self, folder: Path, teacher: str, image_size: int, half: bool = False) -> None:
        self.folder = expanded(folder) / f"{teacher}-{image_size}{'-half' if half else ''}"
        self._dtype = np.float16 if half else np.float32
        self._rows: dict[str, tuple[Path, int, int]] = {}
        self._digests: dict[Hashable, str] = {}
        self._maps: dict[Path, NDArray[Any]] = {}
        self._shapes: dict[Path, list[tuple[int, ...]]] = {}
        self._read_shards()

    def _read_shards(self) -> None:
        for described in sorted(self.folder.glob("*.json")):
            shard = described.with_suffix(".npy")
            try:
                about = checked(read_json(described), _Described)
                rows, shapes = about["rows"], [tuple(shape) for shape in about.get("shapes", [])]
                values = np.load(shard, mmap_mode="r")
                if len(values) != len(rows) or (shapes and values.shape[1:] != (sum(map(prod, shapes)),)):
                    continue
            except Exception:  # cut short, or damaged, which numpy answers in many ways: computed again
                continue
            for number, (digest, checksum) in enumerate(rows):
                self._rows[digest] = (shard, number, checksum)
            self._shapes[shard] = shapes

    def fill(
        self,
        photographs: Readable,
        keys: Iterable[Hashable],
        encode: Callable[[Tensor], Embedding],
        engine: DistributedContext,
    ) -> None:
        """Compute what is missing; a killed fill continues. Unusable photographs are passed over.

        Args:
            photographs: prepares the pictures.
            keys: of the pictures that will be asked for.
            encode: (1, 3, S, S) to its embedding.
            engine: whose processes share the work.
        """
        digests = {key: photographs.digest(key) for key in dict.fromkeys(keys)}
        self._digests = {key: digest for key, digest in digests.items() if digest is not None}
        missing = [key for key in self._digests if self.find(key) is None]
        self.folder.mkdir(parents=True, exist_ok=True)
        bar = progress_bar("teacher embeddings", "image", len(missing), shown=engine.is_main)
        shards = [missing[i : i + _SHARD] for i in range(0, len(missing), _SHARD)]
        with bar:
            for number, shard in enumerate(shards):
                if number % engine.world == engine.rank:
                    self._write(photographs, shard, encode, engine)
                bar.update(len(shard))
        engine.barrier()
        self._read_shards()

    def _write(
        self,
        photographs: Readable,
        keys: list[Hashable],
        encode: Callable[[Tensor], Embedding],
        engine: DistributedContext,
    ) -> None:
        rows, embeddings = [], []
        shapes: list[list[int]] = []
        for key in keys:
            image = photographs.read(key)
            if image is None:
                continue
            with torch.no_grad(), engine.compute():
                embedding = encode(photographs.prepare(image)[None].to(engine.device))
            maps = [m[0].float().cpu().numpy().astype(self._dtype) for m in maps_of(embedding)]
            shapes = [list(m.shape) for m in maps]
            embeddings.append(maps[0] if len(maps) == 1 else np.concatenate([m.ravel() for m in maps]))
            rows.append((self._digests[key], zlib.crc32(embeddings[-1].tobytes())))
        if not rows:
            return
        name = hashlib.sha256("".join(digest for digest, _ in rows).encode()).hexdigest()[:16]
        with new_file(self.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(embeddings))
        about: dict[str, Any] = {"rows": rows} if len(shapes) == 1 else {"rows": rows, "shapes": shapes}
        write_json(self.folder / f"{name}.json", about)

    def find(self, key: Hashable) -> Embedding | None:
        """The embedding of a picture that `fill` was asked for; None if there is none that is sound."""
        row = self._rows.get(self._digests.get(key, ""))
        if row is None:
            return None
        shard, number, checksum = row
        if shard not in self._maps:
            self._maps[shard] = np.load(shard, mmap_mode="r")
        values = np.array(self._maps[shard][number])
        if zlib.crc32(values.tobytes()) != checksum:
            return None
        found, shapes = torch.from_numpy(values).float(), self._shapes[shard]
        if not shapes:
            return found
        parts = found.split([prod(shape) for shape in shapes])
        return embedding_of([part.view(shape) for part, shape in zip(parts, shapes, strict=True)])
