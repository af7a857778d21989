"""The table of broken and hostile inputs: each ends in one line and an exit code, in 5 s and 1 GB, and leaves nothing.

No input may end in a signal, a hang, a traceback, or a result that is wrong in silence.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.hostile import table_masks, table_models, table_pictures, table_runs, table_settings
from tests.hostile.commands import Commands, snapshot
from tests.hostile.rows import Row

MEMORY = 1 << 30
TABLES = (table_masks, table_models, table_pictures, table_settings, table_runs)
ROWS = [row for table in TABLES for row in table.ROWS]
LEAST = 150


def test_the_table_is_as_long_as_it_should_be():
    assert len(ROWS) >= LEAST
    named = [(row.command, row.name) for row in ROWS]
    commands = {command for command, _ in named}
    assert {"segment", "label", "evaluate", "slim", "distill", "quantize", "export", "cost", "web"} <= commands


def words_of(row: Row, base: Path) -> list[str]:
    return [word.format(base=base) for word in shlex.split(row.words)]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[f"{row.command}-{row.name}"[:80] for row in ROWS])
def test_row(row: Row, base: Path, graphs: Path, commands: Commands, tmp_path: Path):
    assert graphs == base
    here = tmp_path / "here"
    here.mkdir()
    first = getattr(row.make, "first", None)
    if first is not None:
        made = commands.run([word.format(base=base) for word in shlex.split(first)], here)
        assert made.code == 0, made.err
    row.make(here, base)
    before, sound = snapshot(here), snapshot(base)
    found = commands.run(words_of(row, base), here, memory=MEMORY, environment=row.environment)
    figures = f"{found.code} {found.signal} {found.cpu:.1f} s {found.memory / 1e6:.0f} MB"
    told = f"{row.words[:300]}\n{figures}\n{found.err[-3000:]}"
    assert found.signal is None, told
    assert not found.timed_out, told
    assert "Traceback" not in found.err, told
    assert found.code == row.code, told
    assert found.cpu < row.seconds, told
    assert found.memory < MEMORY, told
    assert found.alive == 0, told
    if row.code:
        assert found.last.startswith("samlet"), told
        assert len(found.last) < 1500, told
        assert re.search(row.said, found.last), f"expected {row.said!r}\n{told}"
        errors = [line for line in found.err.splitlines() if re.match(r"samlet( \w+)?: .*; see `|samlet: ", line)]
        assert errors, told
    else:
        assert re.search(row.said, found.err + found.out), f"expected {row.said!r}\n{told}"
    after = snapshot(here)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    stray = {name for name in changed if name.split("/")[0] not in row.left}
    assert not stray, f"left behind: {stray}\n{told}"
    assert snapshot(base) == sound
