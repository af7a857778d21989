"""The folder in which a run keeps what it needs to continue."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samlet.data.images import current_reading
from samlet.errors import InputError
from samlet.io.documents import read_json
from samlet.io.jsons import dumps
from samlet.io.locking import BusyError, holding
from samlet.io.writing import (
    MODEL_FILES,
    RUN_FOLDER,
    TEMPORARY,
    check_output,
    remove_temporaries,
    writable_path,
    write_json,
)
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.log import say

LOCK = ".samlet-run.lock"
"""Held while a run works in a folder, and gone when it ends."""


@contextlib.contextmanager
def telling_how_to_continue() -> Iterator[None]:
    """Say, where the block is stopped by Ctrl+C, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say("what is done so far is kept; the same command continues, without --overwrite")
        raise


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs; the folder is made if it is not there.

    A folder that was made for it and is empty in the end, as after a refusal, is removed again.

    Raises:
        InputError: another process works there.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with holding(folder / LOCK):
            remove_temporaries(folder, LOCK)
            with telling_how_to_continue():
                yield
    except BusyError as busy:
        raise InputError(f"{busy} works in {folder}; wait for it, or name another folder") from None
    finally:
        with contextlib.suppress(OSError):  # it holds something: a result, or a run that can be continued
            for parent in made:
                parent.rmdir()


def read_recipe(path: Path) -> dict[str, Any] | None:
    """What an earlier run wrote down; None if there is none.

    Raises:
        InputError: what is there is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except InputError:
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{path} is damaged, so the run there cannot be continued; give --overwrite (overwrite=True) to begin "
            "again, or another folder"
        )
    return found


def whole_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as it is written: with how pictures are read, and as JSON gives it back."""
    return json.loads(dumps({**recipe, **current_reading().as_dict()}))


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError where a folder holds a run of another recipe, naming what differs."""
    different = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if different:
        shown = ", ".join(f"{name} {found.get(name)!r} there, {wanted.get(name)!r} here" for name in different[:3])
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise InputError(
            f"{folder} holds a run with other settings ({shown}{more}); give the same to continue it, "
            "--overwrite (overwrite=True) to begin again, or another folder"
        )


class RunFolder:
    """`OUT/run`: `run.json` with the recipe, `log.jsonl`, `tensorboard/`, and checkpoints until the run is finished.

    Args:
        out: folder of the model that the run makes; the workspace in it is made when the run begins.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / RUN_FOLDER
        self._began = False  # this session, with nothing of an earlier one

    @property
    def finished(self) -> bool:
        """Whether a run has ended here."""
        found = self._described()
        return found is not None and bool(found.get("finished", False))

    @classmethod
    def claim(cls, out: Path, overwrite: bool = False) -> RunFolder:
        """A new folder for a model, one whose unfinished run goes on, or, with `overwrite`, one that is written anew.

        Raises:
            InputError: something else is there, a finished model, or a damaged run.
        """
        run = cls(writable_path(out))
        described = run._described(damaged=overwrite)
        finished = described is not None and bool(described.get("finished", False))
        goes_on = described is not None and not finished
        check_output(out, MODEL_FILES, overwrite or goes_on, run_folder=True)
        if finished and not overwrite:
            check_output(run.folder.parent, frozenset())  # says what is there
        return run

    @contextlib.contextmanager
    def locked(self, wanted: bool = True) -> Iterator[None]:
        """Keep other processes out while the block runs; nothing if not `wanted`. See `working_in`.

        A run that began in the block and is refused, as for a budget that cannot be met, leaves no folder behind: a
        command with other settings finds it free.
        """
        with working_in(self.folder.parent) if wanted else contextlib.nullcontext():
            try:
                yield
            except InputError:
                if wanted and self._began and not self._has_checkpoints:
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise

    @property
    def _has_checkpoints(self) -> bool:
        return any(path.is_file() for path in (self.folder / "checkpoints").rglob("*"))

    def _described(self, damaged: bool = False) -> dict[str, Any] | None:
        """What the run has written; None if it is damaged where that is allowed."""
        try:
            return read_recipe(self.folder / "run.json")
        except InputError:
            if not damaged:
                raise
            return None

    def begin(self, recipe: Mapping[str, Any], overwrite: bool = False) -> None:
        """Start, or continue the unfinished run of the same recipe.

        Args:
            recipe: everything that the result depends on, JSON-ready.
            overwrite: begin again where the recipe is another.

        Raises:
            InputError: an unfinished run of another recipe is here.
        """
        recipe = whole_recipe(recipe)
        found = self._described(damaged=overwrite)
        if found is not None and not found.get("finished", False):
            earlier = found.get("recipe")
            if earlier == recipe:
                if self._has_checkpoints or found.get("noted"):
                    say(f"{self.folder.parent} holds an unfinished run; continuing it")
                return
            if not overwrite:
                check_same(earlier if isinstance(earlier, dict) else {}, recipe, self.folder.parent)
        if self.folder.exists():  # moved first: a kill must not leave half of it under its name
            earlier = self.folder.with_name(f"{TEMPORARY}{self.folder.name}")
            shutil.rmtree(earlier, ignore_errors=True)
            self.folder.rename(earlier)
            shutil.rmtree(earlier)
        self.folder.mkdir(parents=True)
        write_json(self.folder / "run.json", {"recipe": recipe, "finished": False})
        self._began = True

    def note(self, name: str, value: Any) -> None:
        """Write down what the run has found out and goes by when it is continued."""
        described = self._described() or {}
        write_json(self.folder / "run.json", {**described, "noted": {**described.get("noted", {}), name: value}})

    def noted(self, name: str) -> Any:
        """What an earlier session wrote down; None if nothing."""
        found = (self._described() or {}).get("noted", {})
        return found.get(name) if isinstance(found, dict) else None

    def checkpoints(self, stage: str) -> CheckpointFolder:
        """Where a stage keeps its checkpoints."""
        return CheckpointFolder(self.folder / "checkpoints" / stage.replace(" ", "-"))

    def check_space(self, weights: int) -> None:
        """Refuse a disk that will not hold the checkpoints: three times weights and their two moments.

        Args:
            weights: how many numbers are trained or saved.

        Raises:
            InputError: the disk is too small.
        """
        folder = self.folder.parent
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        needed, free = 3 * 3 * 4 * weights, shutil.disk_usage(existing).free
        if free < needed:
            raise InputError(
                f"{existing} has {free / 1e6:.0f} MB free, but model and checkpoints need {needed / 1e6:.0f} MB; "
                "free space or name a folder on another disk"
            )

    def finish(self) -> None:
        """Mark the run as ended and remove its checkpoints."""
        described = self._described() or {}
        write_json(self.folder / "run.json", {**described, "finished": True})
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
