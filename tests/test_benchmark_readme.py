"""benchmarks/README.md names every script, and what it says of them holds."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_script_is_named_and_none_that_is_gone():
    named = set(re.findall(r"`(\w+\.py)`", TEXT))
    assert named == {path.name for path in FOLDER.glob("*.py")}


def test_every_script_that_runs_has_a_row_with_data_and_time():
    for path in FOLDER.glob("*.py"):
        if "def main(" not in path.read_text(encoding="utf-8"):
            continue
        (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{path.name}`")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4
        assert all(cells), row


def test_all_data_that_scripts_open_is_described():
    """Names below the folder of data, as they stand in the scripts."""
    opened = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                opened |= set(re.findall(r"\b(bsds500|coco100_train|photos1000_masks|photos1000)\b", node.value))
                opened |= set(re.findall(r"\b[\w.]+\.safetensors\b", node.value))
    assert {"bsds500", "mobile_sam.safetensors"} <= opened
    for name in opened:
        assert re.search(rf"\b{re.escape(name)}\b", TEXT), name


def test_what_make_bench_runs_is_there():
    for name in re.findall(r"benchmarks/(\w+\.py)", (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert (FOLDER / name).is_file()
