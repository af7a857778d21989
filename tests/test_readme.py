"""What the README shows works as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

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


def test_every_command_in_the_readme_parses():
    commands = [
        line.split("#")[0].split()[1:]
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("samlet ")
    ]
    assert len(commands) >= 5
    for arguments in commands:
        build_parser().parse_args(arguments)


def test_files_that_the_readme_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_tables_are_those_of_the_committed_results():
    script = [sys.executable, str(ROOT / "scripts" / "update_docs.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0, "run scripts/update_docs.py"
