"""What a killed process leaves, and who removes it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from samlet.io import writing
from samlet.io.writing import TEMPORARY, check_writable, new_folder


def _write_and_wait(out: Path, ready) -> None:
    with new_folder(out, frozenset({"a.txt"})) as temporary:
        (temporary / "a.txt").write_text("half")
        ready.set()
        signal.pause()


@pytest.fixture
def writer(tmp_path: Path):
    """A process that has half written `out`, and waits."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_write_and_wait, args=(tmp_path / "out", ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def _temporaries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(TEMPORARY)]


def _write(folder: Path) -> None:
    with new_folder(folder, frozenset({"a.txt"})) as temporary:
        (temporary / "a.txt").write_text("whole")


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path, writer):
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert len(_temporaries(tmp_path)) == 1
    _write(tmp_path / "other")
    assert len(_temporaries(tmp_path)) == 1, "it belongs to another folder"
    _write(tmp_path / "out")
    assert _temporaries(tmp_path) == []
    assert (tmp_path / "out" / "a.txt").read_text() == "whole"


def test_what_a_living_process_writes_stays(tmp_path: Path, writer):
    _write(tmp_path / "out")
    assert len(_temporaries(tmp_path)) == 1
    assert writer.is_alive()


def test_a_check_of_a_folder_leaves_nothing_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = []
    make = writing.tempfile.TemporaryFile

    def making(**settings):
        made = make(**settings)
        names.extend(entry.name for entry in tmp_path.iterdir())
        return made

    monkeypatch.setattr(writing.tempfile, "TemporaryFile", making)
    check_writable(tmp_path / "out")
    assert names == []
