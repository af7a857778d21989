"""Checkpoints of a stage: tensors and a JSON state, written atomically, checked when read, never unpickled.

A checkpoint is `step-N.safetensors` and `step-N.json`; the JSON is written last and holds the digest of the other, so a
checkpoint with a sound JSON is whole. The two newest are kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from samlet.errors import SamletError
from samlet.io.documents import read_json
from samlet.io.schema import checked
from samlet.io.writing import new_file

_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a stage.

    Attributes:
        step: optimizer steps taken.
        tensors: by name.
        state: whatever else, as JSON.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one stage, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        """What `newest` passed over, and why."""

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint and forget all but the newest two.

        Raises:
            SamletError: the disk is full or cannot be written; earlier checkpoints stay.
        """
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        digest = hashlib.sha256(content).hexdigest()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self._path(step, "safetensors"), content)
            _write(self._path(step, "json"), json.dumps({"step": step, "sha256": digest, "state": state}).encode())
        except OSError as error:
            steps = self.steps()
            last = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
            free = "free space on its disk" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "mend that"
            raise SamletError(
                f"the checkpoint {self._path(step, 'safetensors')} of {len(content) / 1e6:.0f} MB cannot be written: "
                f"{error.strerror or error}; {last}. To continue, {free} and run the same command again"
            ) from error
        for old in self.steps()[:-_KEPT]:
            self._path(old, "json").unlink(missing_ok=True)
            self._path(old, "safetensors").unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; damaged ones are passed over and named in `damaged`."""
        self.damaged = []
        for step in reversed(self.steps()):
            try:
                return self._read(step)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                self.damaged.append(f"{self._path(step, 'safetensors')}: {error}")
        return None

    def steps(self) -> list[int]:
        """Steps of the checkpoints on disk, damaged or not, in order."""
        names = (path.stem.partition("-") for path in self.folder.glob("step-*.json"))
        return sorted(int(number) for _, _, number in names if number.isdecimal())

    def _path(self, step: int, suffix: str) -> Path:
        return self.folder / f"step-{step:07d}.{suffix}"

    def _read(self, step: int) -> Checkpoint:
        described = checked(read_json(self._path(step, "json")), _Described)
        content = self._path(step, "safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != described["sha256"]:
            raise ValueError("the tensors do not have the digest that was written with them")
        return Checkpoint(int(described["step"]), load(content), dict(described["state"]))


class _Described(TypedDict):
    step: int
    sha256: str
    state: dict


def _write(path: Path, content: bytes) -> None:
    with new_file(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
