"""Results of an evaluation, an image at a time, so that a killed one continues and several processes share the work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypedDict

from samlet.errors import InputError
from samlet.io.documents import parse_json
from samlet.io.jsons import dumps
from samlet.io.locking import BusyError, holding
from samlet.io.schema import checked
from samlet.io.writing import check_output, naming, remove_temporaries, writable_path, write_json
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import check_same, read_recipe, telling_how_to_continue, whole_recipe

_RUN = "run.json"
EVALUATION_FILES = frozenset({_RUN, "evaluation.json", "worst.png"})


Record = dict[str, Any]
"""What was measured on one image: its `name`, and whatever JSON holds."""


class RecordStore:
    """A folder of results; each process appends to a file of its own.

    Args:
        folder: a new folder, or that of the same evaluation, which continues.
        recipe: what determines the results; another one in the folder is refused.
        rank: number of this process.
        overwrite: start again.
        engine: all processes that write there; each makes a `RecordStore`, and they wait for one another.
        kind: what a record must have beside its name, as `samlet.io.schema` takes it.

    Raises:
        InputError: the folder holds something else, another evaluation, or one that is running.
    """

    def __init__(
        self,
        folder: Path,
        recipe: dict[str, Any],
        rank: int = 0,
        overwrite: bool = False,
        engine: DistributedContext | None = None,
        kind: Any = dict,
    ) -> None:
        self.folder, self._kind = writable_path(folder), kind
        self._path, self._engine = self.folder / f"images-{rank}.jsonl", engine
        if rank == 0:
            self._begin(whole_recipe(recipe), overwrite)
        self._wait()
        self.done = {record["name"] for record in self._all()}
        self._wait()
        self._file: IO[bytes] | None = None
        self._held = contextlib.ExitStack()

    def _wait(self) -> None:
        if self._engine is not None:
            self._engine.barrier()

    def _begin(self, recipe: dict[str, Any], overwrite: bool) -> None:
        ours = {path.name for path in self.folder.glob("images-*.jsonl")} if self.folder.is_dir() else set()
        check_output(self.folder, EVALUATION_FILES | ours, overwrite=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(self.folder)
        run = self.folder / _RUN
        if overwrite:
            for name in ours:
                (self.folder / name).unlink()
        elif (found := read_recipe(run)) is not None:
            check_same(found, recipe, self.folder)
        elif ours:
            raise InputError(
                f"{self.folder} holds results without {_RUN}; name a new folder, or pass --overwrite (overwrite=True)"
            )
        write_json(run, recipe)

    def __enter__(self) -> RecordStore:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(holding(self.folder / f".samlet-{self._path.name}.lock"))
            except BusyError as busy:
                raise InputError(f"{busy} writes {self.folder}; wait for it, or name a new folder") from None
            self._file = stack.enter_context(self._path.open("ab"))
            self._file.truncate(_whole_lines(self._path))
            stack.enter_context(telling_how_to_continue())
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file = None
        self._held.__exit__(kind, error, trace)

    def add(self, record: Record) -> None:
        """Write one image; a killed process leaves whole images only."""
        assert self._file is not None
        with naming(self._path):
            self._file.write((dumps(record) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.done.add(record["name"])

    def all(self) -> list[Record]:
        """What all processes have written, by name; waits for them."""
        self._wait()
        found = sorted({record["name"]: record for record in self._all()}.items())
        self._wait()
        return [record for _, record in found]

    def _all(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob("images-*.jsonl")):
            yield from _read(path, self._kind)


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    content = path.read_bytes()
    return content.rfind(b"\n") + 1


class _Named(TypedDict):
    name: str


def _read(path: Path, kind: Any) -> Iterator[Record]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                try:
                    record = checked(checked(parse_json(line), _Named), kind)
                except InputError as error:
                    raise InputError(
                        f"{path} is damaged: {error}; the run cannot be continued. Pass --overwrite (overwrite=True) "
                        "to start again"
                    ) from error
                yield record
