"""Embeddings of a frozen teacher on disk, so that it never runs twice on a photograph.

Shards of a few dozen embeddings, memory-mapped. A row is found by the digest of the photograph's file, in a folder that
names the teacher's weights and the input size; every row has a checksum. So nothing stale or damaged is ever used.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from samlet.checkpoints.writing import new_file, write_json
from samlet.data.images import RGBImage
from samlet.training.engine import Engine

_SHARD = 64


class Readable(Protocol):
    """Photographs by path; see `samlet.training.batches.Photographs`."""

    def digest(self, path: Path) -> str | None:
        """SHA-256 of a photograph's file; None if it cannot be used."""
        ...

    def read(self, path: Path) -> RGBImage | None:
        """The photograph; None if it cannot be used."""
        ...

    def prepare(self, image: RGBImage) -> Tensor:
        """(3, S, S) for the teacher's encoder."""
        ...


class EmbeddingCache:
    """Embeddings (C, h, w) float32 of photographs as they are, by path.

    Args:
        folder: holds the caches of any teachers.
        teacher: fingerprint of the teacher's weights.
        image_size: side of the encoder's input, pixels.
    """

    def __init__(self, folder: Path, teacher: str, image_size: int) -> None:
        self.folder = folder.expanduser() / f"{teacher}-{image_size}"
        self._rows: dict[str, tuple[Path, int, int]] = {}
        self._digests: dict[Path, str] = {}
        self._maps: dict[Path, NDArray[np.float32]] = {}
        self._read_shards()

    def _read_shards(self) -> None:
        for described in sorted(self.folder.glob("*.json")):
            shard = described.with_suffix(".npy")
            try:
                rows = json.loads(described.read_text(encoding="utf-8"))["rows"]
                if len(np.load(shard, mmap_mode="r")) != len(rows):
                    continue
            except (OSError, ValueError, KeyError, TypeError):  # cut short: computed again
                continue
            for number, (digest, checksum) in enumerate(rows):
                self._rows[digest] = (shard, number, checksum)

    def fill(
        self, photographs: Readable, paths: Iterable[Path], encode: Callable[[Tensor], Tensor], engine: Engine
    ) -> None:
        """Compute what is missing; a killed fill continues. Unusable photographs are passed over.

        Args:
            photographs: prepares the images.
            paths: photographs that will be asked for.
            encode: (1, 3, S, S) to (1, C, h, w).
            engine: whose processes share the work.
        """
        digests = {path: photographs.digest(path) for path in dict.fromkeys(paths)}
        self._digests = {path: digest for path, digest in digests.items() if digest is not None}
        missing = [path for path in self._digests if self.find(path) is None]
        self.folder.mkdir(parents=True, exist_ok=True)
        bar = tqdm(total=len(missing), desc="teacher embeddings", unit="image", disable=not engine.is_main)
        shards = [missing[i : i + _SHARD] for i in range(0, len(missing), _SHARD)]
        with bar:
            for number, shard in enumerate(shards):
                if number % engine.world == engine.rank:
                    self._write(photographs, shard, encode, engine)
                bar.update(len(shard))
        engine.barrier()
        self._read_shards()

    def _write(
        self, photographs: Readable, paths: list[Path], encode: Callable[[Tensor], Tensor], engine: Engine
    ) -> None:
        rows, embeddings = [], []
        for path in paths:
            image = photographs.read(path)
            if image is None:
                continue
            with torch.no_grad(), engine.compute():
                embedding = encode(photographs.prepare(image)[None].to(engine.device))
            embeddings.append(embedding[0].float().cpu().numpy())
            rows.append((self._digests[path], zlib.crc32(embeddings[-1].tobytes())))
        if not rows:
            return
        name = hashlib.sha256("".join(digest for digest, _ in rows).encode()).hexdigest()[:16]
        with new_file(self.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(embeddings))
        write_json(self.folder / f"{name}.json", {"rows": rows})

    def find(self, path: Path) -> Tensor | None:
        """The embedding of a photograph that `fill` was asked for; None if there is none that is sound."""
        row = self._rows.get(self._digests.get(path, ""))
        if row is None:
            return None
        shard, number, checksum = row
        if shard not in self._maps:
            self._maps[shard] = np.load(shard, mmap_mode="r")
        values = np.array(self._maps[shard][number])
        return torch.from_numpy(values) if zlib.crc32(values.tobytes()) == checksum else None
