"""Completion in a shell: what bash offers after some words."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from samlet.cli import main
from samlet.cli.completion import script
from samlet.cli.parsers import build_parser


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    path = tmp_path_factory.mktemp("bash") / "completion.bash"
    path.write_text(script(build_parser(), "bash", ("mobile_sam", "sam_vit_b")))

    def offered(*words: str, folder: object = None) -> list[str]:
        command = f"source {path}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _samlet; "
        command += 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=folder)
        assert done.stderr == ""
        return done.stdout.split()

    return offered


def test_commands_options_choices_models_and_files(bash, tmp_path):
    (tmp_path / "mine").mkdir()
    assert bash("samlet", "sl", folder=tmp_path) == ["slim"]
    assert "--importance" in bash("samlet", "slim", "--im", folder=tmp_path)
    assert bash("samlet", "slim", "--importance", "", folder=tmp_path)[:2] == ["disturbed-taylor", "taylor"]
    assert bash("samlet", "slim", "--teacher", "m", folder=tmp_path) == ["mobile_sam", "mine"]
    assert bash("samlet", "cost", "m", folder=tmp_path) == ["mobile_sam", "mine"]
    assert bash("samlet", "segment", "m", folder=tmp_path) == ["mine"]
    assert bash("samlet", "demo", "--minutes", "s", folder=tmp_path) == []  # a number, not a model


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_every_script(shell, capsys):
    assert main(["--completion", shell]) == 0
    text = capsys.readouterr().out
    for name in ("segment", "slim", "export", "review", "save"):
        assert name in text
    assert "mobile_sam" in text
    assert ("bashcompinit" in text) == (shell == "zsh")
