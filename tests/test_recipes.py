"""Recipes: every command is one that samlet takes, in an order in which each finds what it reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from samlet.zoo import ENTRIES

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.sh"))

_ONLY_PARSES = """#!{python}
import sys
from pathlib import Path
from samlet.cli.parsers import build_parser
options = build_parser().parse_args()
for name in ("images", "data", "student"):
    read = getattr(options, name, None)
    assert read is None or Path(read).exists(), f"{{name}}: {{read}}"
out = Path(options.out)
if not out.exists():
    out.mkdir()
    (out / "provenance.json").write_text("{{}}")
with open("said", "a") as said:
    print(options.command, out.name, file=said)
"""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_command_of_a_recipe_is_one_of_samlet(recipe: Path, tmp_path: Path):
    program = tmp_path / "bin" / "samlet"
    program.parent.mkdir()
    program.write_text(_ONLY_PARSES.format(python=sys.executable))
    program.chmod(0o755)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    command = ["bash", str(recipe), "photos", "masks", "out"]
    for _ in range(2):  # the second time everything is there
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_text().splitlines()
    assert said[-1].split()[1] == recipe.stem
    assert len({*said}) == len(said), "what was made is not made again"
    assert recipe.stem in ENTRIES
