"""What a run leaves to look at: `log.jsonl`, one line a step, and the same for TensorBoard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from samlet.io import progress
from samlet.io.documents import parse_json
from samlet.io.jsons import dumps

_NAME = "log.jsonl"


def say(text: str) -> None:
    """A remark for people on stderr, which leaves progress bars whole."""
    progress.write(f"samlet: {text}")


class RunLog:
    """The log of a run, which continues where a killed run ended.

    Args:
        folder: holds `log.jsonl` and `tensorboard/`; None to keep the lines in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _NAME
        self._board_folder = None if folder is None else folder / "tensorboard"
        self._board: Any = None
        self.lines: list[dict[str, Any]] = [] if self._path is None else read_log(self._path)

    def rewind(self, stage: str, step: int) -> None:
        """Forget what a stage logged after a step."""
        kept = [line for line in self.lines if line["stage"] != stage or line["step"] <= step]
        if len(kept) == len(self.lines):
            return
        self.lines = kept
        if self._path is not None:
            content = "".join(dumps(line) + "\n" for line in self.lines)
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(self._path)
        self._close_board()

    def add(self, stage: str, step: int, offset: int, values: dict[str, float]) -> None:
        """One line: what a step, counted from 1 in its stage, measured.

        Args:
            stage: its name.
            step: of the stage.
            offset: steps of the stages before, for TensorBoard's axis.
            values: by name.
        """
        line = {"stage": stage, "step": step, **values}
        self.lines.append(line)
        if self._path is None or self._board_folder is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(dumps(line) + "\n")
        if self._board is None:
            logging.getLogger("tensorboardX").setLevel(logging.ERROR)
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self._board_folder), purge_step=offset + step)
        for name, value in values.items():
            self._board.add_scalar(f"{stage}/{name}", value, offset + step)

    def values(self, stage: str, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one quantity."""
        found = [(line["step"], line[name]) for line in self.lines if line["stage"] == stage and name in line]
        return [step for step, _ in found], [value for _, value in found]

    def close(self) -> None:
        """Write what TensorBoard's writer still holds."""
        self._close_board()

    def _close_board(self) -> None:
        if self._board is not None:
            self._board.close()
            self._board = None


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; what a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "stage" in line and "step" in line:
            lines.append(line)
    return lines
