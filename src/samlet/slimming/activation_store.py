"""What stands between two parts of an encoder, for many photographs, in files that are mapped into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samlet.models import Embedding, embedding_of, maps_of


class ActivationStore:
    """A tensor, or several, for each photograph, in files that are mapped into memory.

    Args:
        path: of the files, which are new.
        values: (n, …) float32 of some photographs each, in order.
    """

    def __init__(self, path: Path, values: Iterable[Embedding]) -> None:
        self._tables: list[_Table] = []
        self._count = 0
        with ExitStack() as files:
            for value in values:
                maps = maps_of(value)
                self._count += len(maps[0])
                if not self._tables:
                    self._tables = [_Table(path.with_name(f"{path.name}-{i}"), m) for i, m in enumerate(maps)]
                    opened = [files.enter_context(table.path.open("wb")) for table in self._tables]
                for file, m in zip(opened, maps, strict=True):
                    file.write(np.ascontiguousarray(m.detach().cpu().numpy()).data)

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> int:
        """Numbers of one photograph, in all its tensors."""
        return sum(prod(table.shape) for table in self._tables)

    def chunks(self, together: int, device: torch.device) -> Iterator[tuple[int, Embedding]]:
        """The number of the first photograph and (n, …) of at most `together`, one chunk after the other."""
        tables = [
            (table, np.memmap(table.path, np.float32, "r", shape=(self._count, *table.shape))) for table in self._tables
        ]
        for start in range(0, self._count, together):
            yield start, embedding_of([table.part(values, start, together, device) for table, values in tables])

    def forget(self) -> None:
        """Remove the files."""
        for table in self._tables:
            table.path.unlink(missing_ok=True)


class _Table:
    """A file that holds one tensor for each photograph.

    Args:
        path: of the file.
        like: such a tensor, of some photographs.
    """

    def __init__(self, path: Path, like: Tensor) -> None:
        self.path, self.shape = path, tuple(like.shape[1:])
        self._channels_last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)

    def part(self, values: NDArray[np.float32], start: int, count: int, device: torch.device) -> Tensor:
        """The tensors of at most so many photographs."""
        found = torch.from_numpy(np.array(values[start : start + count])).to(device)
        return found.contiguous(memory_format=torch.channels_last) if self._channels_last else found
