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
from samlet.io.jsons import dumps
from samlet.io.locking import take
from samlet.io.writing import RUN_FOLDER, write_json
from samlet.runs.checkpoints import CheckpointFolder


class RunFolder:
    """`OUT/run`: `run.json` with the recipe, `log.jsonl`, `tensorboard/`, and checkpoints until the run is finished.

    Args:
        out: folder of the model that the run makes; the workspace in it is made when the run begins.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / RUN_FOLDER

    @property
    def unfinished(self) -> bool:
        """Whether a run has begun here and not ended."""
        found = self._described()
        return found is not None and not found.get("finished", False)

    @property
    def finished(self) -> bool:
        """Whether a run has ended here."""
        found = self._described()
        return found is not None and bool(found.get("finished", False))

    @contextlib.contextmanager
    def locked(self, wanted: bool = True) -> Iterator[None]:
        """Keep other processes out while the block runs; nothing if not `wanted`.

        Raises:
            InputError: another process works here.
        """
        if not wanted:
            yield
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.folder.parent / ".samlet-run.lock"
        with path.open("ab") as file:
            if not take(file):
                raise InputError(f"another process works in {path.parent}; wait for it, or name another folder")
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _described(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def begin(self, recipe: Mapping[str, Any], overwrite: bool = False) -> None:
        """Start, or continue the unfinished run of the same recipe.

        Args:
            recipe: everything that the result depends on, JSON-ready.
            overwrite: begin again where the recipe is another.

        Raises:
            InputError: an unfinished run of another recipe is here.
        """
        recipe = {**recipe, **current_reading().as_dict()}
        found = self._described()
        if found is not None and not found.get("finished", False):
            differing = _differences(found.get("recipe", {}), recipe)
            if not differing:
                return
            if not overwrite:
                raise InputError(
                    f"{self.folder.parent} holds an unfinished run with other settings ({differing}); give the same "
                    "to continue it, --overwrite to begin again, or another folder"
                )
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        write_json(self.folder / "run.json", {"recipe": recipe, "finished": False})

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


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Settings that differ, for a person."""
    wanted = json.loads(dumps(wanted))
    different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} {found.get(name)!r} there, {wanted.get(name)!r} here" for name in different[:3])
