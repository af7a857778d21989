"""A samlet command in a process of its own, and what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command did; see `server`."""

    code: int | None
    signal: int | None
    seconds: float
    cpu: float
    memory: int
    timed_out: bool
    stopped: bool
    out: str
    err: str
    alive: int

    @property
    def last(self) -> str:
        """The last line on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]


class Commands:
    """Starts commands one after the other."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def run(
        self,
        arguments: list[str],
        cwd: Path,
        *,
        seconds: float = 120.0,
        memory: int = 1 << 30,
        stop: tuple[int, float] | None = None,
        environment: dict[str, str] | None = None,
        patience: float = 1.0,
    ) -> Outcome:
        """Run one command to its end, or until it is stopped by a signal after some seconds."""
        request: dict[str, Any] = {
            "arguments": [os.fspath(word) for word in arguments],
            "cwd": str(cwd),
            "seconds": seconds,
            "memory": memory,
            "stop": stop,
            "environment": environment,
            "patience": patience,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process that starts them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def snapshot(folder: Path) -> dict[str, tuple[int, int] | str]:
    """Every file and folder below a folder, with the size and time of change of files."""
    found: dict[str, tuple[int, int] | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            found[name] = "folder"
        else:
            about = path.stat()
            found[name] = about.st_size, about.st_mtime_ns
    return found
