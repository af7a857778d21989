"""The tests stand where what they test stands: a reader finds `tests/data/test_ranges.py` beside `data/ranges.py`."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE, TESTS = ROOT / "src" / "samlet", ROOT / "tests"
OTHER_FOLDERS = {"tools", "hostile"}  # with other programs; of all rooms at once
MEANT_OTHERWISE = {
    "checkpoints/test_formats.py",
    "web/test_page.py",
    "inference/test_names.py",
    "labels/test_labels.py",
    "tools/test_transformers_js.py",
}
"""Named for what the room has as a whole, not for a module of that name in another room."""


def homes() -> dict[str, list[Path]]:
    """Rooms of the modules of each name."""
    found = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        found[path.stem].append(path.relative_to(SOURCE).parent)
    return found


HOMES = homes()
MODULES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))


def test_folders_of_tests_are_rooms():
    assert {path.parts[0] for path in MODULES if len(path.parts) > 1} - OTHER_FOLDERS <= {
        path.name for path in SOURCE.iterdir() if path.is_dir()
    }


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_test_module_that_is_named_for_one_module_stands_in_its_room(module):
    rooms = HOMES.get(module.stem.removeprefix("test_"), [])
    if len(rooms) == 1 and len(module.parts) > 1 and module.as_posix() not in MEANT_OTHERWISE:
        assert module.parts[0] == (rooms[0].parts or (".",))[0], f"{module} belongs to {rooms[0]}"


def test_the_script_lists_modules_without_a_test_module_of_their_name():
    run = [sys.executable, str(ROOT / "scripts" / "unmirrored.py"), "io"]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    listed = {line.split("  ")[0] for line in printed.splitlines()[:-1]}
    expected = {f"io/{path.name}" for path in (SOURCE / "io").glob("*.py") if path.name != "__init__.py"}
    assert listed == {name for name in expected if not (TESTS / "io" / f"test_{Path(name).name}").is_file()}
