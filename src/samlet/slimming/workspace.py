"""The folder in which a run keeps what it needs to continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samlet.checkpoints.writing import write_json
from samlet.errors import InputError
from samlet.training.checkpoints import CheckpointFolder

RUN_FOLDER = "run"
"""Name of the folder inside the folder of the slimmed model."""


class Workspace:
    """`OUT/run`: `run.json` with the recipe, `log.jsonl`, `tensorboard/`, and checkpoints until the run is finished.

    Args:
        folder: the folder; it is made when the run begins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def unfinished(self) -> bool:
        """Whether a run has begun here and not ended."""
        return self._described() is not None and not self._described().get("finished", False)  # type: ignore[union-attr]

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

    def checkpoints(self, stage: str) -> CheckpointFolder:
        """Where a stage keeps its checkpoints."""
        return CheckpointFolder(self.folder / "checkpoints" / stage.replace(" ", "-"))

    def finish(self) -> None:
        """Mark the run as ended and remove its checkpoints."""
        described = self._described() or {}
        write_json(self.folder / "run.json", {**described, "finished": True})
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Settings that differ, for a person."""
    wanted = json.loads(json.dumps(wanted))
    different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} {found.get(name)!r} there, {wanted.get(name)!r} here" for name in different[:3])
