"""Recipes: every command is one that samlet takes, in an order in which each finds what it reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    print(options.command, out, options.image_size, options.batch_size, file=said)
"""


def run(recipe: Path, folder: Path, **settings: str) -> list[list[str]]:
    """The commands that a recipe gives: name, folder of the result, image size, batch size."""
    program = folder / "bin" / "samlet"
    program.parent.mkdir()
    program.write_text(_ONLY_PARSES.format(python=sys.executable))
    program.chmod(0o755)
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, **settings, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    command = ["bash", str(recipe), "photos", "masks", "out"]
    for _ in range(2):  # the second time everything is there
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return [line.split() for line in (folder / "said").read_text().splitlines()]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_command_of_a_recipe_is_one_of_samlet(recipe: Path, tmp_path: Path):
    said = run(recipe, tmp_path)
    assert said[-1][1] == ("out/m/samlet_m" if recipe.stem == "one_gpu" else f"out/{recipe.stem}")
    assert len({line[1] for line in said}) == len(said), "what was made is not made again"


def test_a_gpu_makes_both_models_with_the_options_that_it_is_given(tmp_path: Path):
    said = run(ROOT / "recipes" / "one_gpu.sh", tmp_path, PIXELS="256", BATCH="8")
    assert {tuple(line[2:]) for line in said} == {("256", "8")}
    assert {"out/s/samlet_s", "out/m/samlet_m"} < {line[1] for line in said}
