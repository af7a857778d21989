"""What the README shows works as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from samlet.cli.parsers import build_parser
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs(tmp_path):
    code = "\n".join(blocks("python")).replace("steps=200", "steps=2").replace("image_size=512", "image_size=64")
    assert "samlet.slim(" in code
    assert "samlet.save(" in code
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=dict(os.environ), timeout=300)
    assert (tmp_path / "small" / "config.json").is_file()


def commands(text: str) -> list[list[str]]:
    """The `samlet` commands in a document's bash blocks, as lists of words."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("samlet ")]
    return [words[1:] for words in found]


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_command_parses(document):
    found = commands((ROOT / document).read_text(encoding="utf-8"))
    assert found
    for words in found:
        options = build_parser().parse_args(words)
        if getattr(options, "then", None):
            given = ["--teacher", "m", "--student", "m", "--data", "d", "--out", "o"]
            build_parser().parse_args([*shlex.split(options.then), *given])


def test_files_that_the_readme_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_tables_are_those_of_the_committed_results():
    script = [sys.executable, str(ROOT / "scripts" / "update_docs.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0, "run scripts/update_docs.py"
