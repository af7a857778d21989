"""One process at a time: others wait or are told whom for, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import samlet
from samlet.io.locking import BusyError, holding
from samlet.runs.folder import working_in
from samlet.runs.records import RecordStore

COUNT = """
import sys, time
from pathlib import Path
from samlet.io.locking import locked
counter = Path(sys.argv[1])
for _ in range(15):
    with locked(counter):
        value = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(value + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from samlet.io.locking import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_processes_that_write_one_file_take_turns(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    started = [subprocess.Popen([sys.executable, "-c", COUNT, str(counter)], stderr=subprocess.PIPE) for _ in range(4)]
    said = b"".join(process.communicate()[1] for process in started)
    assert counter.read_text() == "60"
    assert f", which writes {counter}".encode() in said
    assert list(tmp_path.iterdir()) == [counter]


def test_who_is_turned_away_hears_whom_to_wait_for_and_a_kill_frees_the_lock(tmp_path):
    lock = tmp_path / "some.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(BusyError, match=f"process {process.pid} on "), holding(lock):
            pass
        os.kill(process.pid, signal.SIGKILL)
    began = time.monotonic()
    with holding(lock):
        assert f"process {os.getpid()} on" in lock.read_text()
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_nothing_was_written_is_not_left_behind(tmp_path):
    with pytest.raises(ValueError, match="planned"), working_in(tmp_path / "new"):
        raise ValueError("planned")
    assert list(tmp_path.iterdir()) == []
    with working_in(tmp_path / "new"):
        (tmp_path / "new" / "model").write_text("x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_two_evaluations_do_not_write_one_folder(tmp_path):
    first, second = (RecordStore(tmp_path, {"model": "m"}) for _ in range(2))
    with first:
        first.add({"name": "a"})
        told = rf"process {os.getpid()} on .* writes {tmp_path}; wait for it"
        with pytest.raises(samlet.InputError, match=told), second:
            pass
    with second:
        second.add({"name": "b"})
    assert [record["name"] for record in second.all()] == ["a", "b"]
    assert {path.name for path in Path(tmp_path).iterdir()} == {"run.json", "images-0.jsonl"}
