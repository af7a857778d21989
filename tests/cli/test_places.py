"""Models, folders, ports that `web`, `serve`, `export` cannot take: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import socketserver
from pathlib import Path

import pytest

import samlet
from samlet.cli import main
from samlet.errors import SamletError
from samlet.io.writing import new_folder
from samlet.web.folder import page_folder
from tests.conftest import make_tiny

MAKERS = {"web": ["web", "--size"], "export": ["export", "--image-size", "--to", "transformers.js"]}
FOLDERS = {
    "no model of that name": (["xyzzy", "--out", "o"], "such as mobile_sam, or a path"),
    "nearly a name": (["mobile_sma", "--out", "o"], "did you mean mobile_sam"),
    "no such file": (["weights/sam.pth", "--out", "o"], "no file or folder"),
    "a folder in use": (["m", "--out", "used"], "already holds letters.txt; nothing was written"),
    "not ours to replace": (["m", "--out", "used", "--overwrite"], "already holds letters.txt; nothing was written"),
    "a file": (["m", "--out", "file"], "is a file; expected a new folder"),
    "below a file": (["m", "--out", "file/deeper"], "cannot be written"),
    "a link to itself": (["m", "--out", "loop"], "cannot be written"),
    "nobody's home": (["m", "--out", "~nobody_of_that_name/o"], "no such user or home folder"),
    "a name that is too long": (["m", "--out", "o" * 300], "is too long a name for a file"),
    "a size that no grid has": (["m", "--out", "above/o", "--size", "100"], "multiple of 16"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    samlet.save(make_tiny(), tmp_path / "m")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letters.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def refused(arguments: list[str], here: Path, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What a refusal says; it says it in one line and leaves everything as it was."""
    before = sorted(here.rglob("*"))
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("samlet: ")
    assert said.err.count("\n") == 1, said.err
    assert sorted(here.rglob("*")) == before
    assert (here / "used" / "letters.txt").read_text() == (here / "file").read_text() == "mine"
    return said.err


@pytest.mark.parametrize("case", FOLDERS)
@pytest.mark.parametrize("to", MAKERS)
def test_models_and_folders(to: str, case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, size, *target = MAKERS[to]
    (model, *options), words = FOLDERS[case]
    options = [size if option == "--size" else option for option in options]
    assert words in refused([command, model, *target, *options], here, capsys)


@pytest.mark.parametrize("to", MAKERS)
def test_a_folder_that_cannot_be_written(
    to: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, _, *target = MAKERS[to]
    if os.geteuid():
        (here / "closed").mkdir(mode=0o555)
    else:  # nothing is closed to root: a disk that is mounted read-only, say

        def full(*_: object, **__: object) -> str:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        (here / "closed").mkdir()
        monkeypatch.setattr("tempfile.TemporaryFile", full)
    said = refused([command, "m", *target, "--out", "closed/o"], here, capsys)
    assert f"{here / 'closed' / 'o'} cannot be written: {here / 'closed'} is not a folder" in said


def fail(folder: contextlib.AbstractContextManager[Path], meanwhile: Path | None = None) -> None:
    """What happens when a gate refuses what was half-written."""
    with folder as temporary:
        (temporary / "encoder.onnx").write_text("half")
        if meanwhile is not None:
            meanwhile.write_text("theirs")
        raise SamletError("the graphs do not answer as the model does")


def test_what_fails_later_leaves_no_folders(tmp_path: Path) -> None:
    for folder in (new_folder(tmp_path / "a" / "b" / "o", frozenset()), page_folder(tmp_path / "a" / "c" / "o", False)):
        with pytest.raises(SamletError, match="as the model"):
            fail(folder)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(SamletError, match="as the model"):
        fail(new_folder(tmp_path / "a" / "b" / "o", frozenset()), meanwhile=tmp_path / "a" / "theirs.txt")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs.txt"]


@pytest.mark.parametrize("command", ["web", "serve"])
def test_ports(command: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(port: int) -> list[str]:
        return (
            ["web", "m", "--out", "above/o", "--serve", str(port)]
            if command == "web"
            else [command, "m", "--port", str(port)]
        )

    if command == "serve":
        pytest.importorskip("uvicorn")
        pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        said = refused(asked(taken), here, capsys)
    assert str(taken) in said
    assert "in use" in said
    assert "(while" not in said
    for port in (70000, -1):
        assert f"port is {port}; expected 0" in refused(asked(port), here, capsys)

    def privileged(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socketserver.TCPServer, "server_bind", privileged)
    monkeypatch.setattr(socket, "create_server", privileged)
    said = refused(asked(80), here, capsys)
    assert "80" in said
    assert "name another" in said


def test_limits_of_the_service(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    serve = ["serve", "m", "--port", "0"]
    cases = {
        "--max-megabytes": ("inf", "--max-megabytes is inf; expected a number above 0"),
        "--cache-megabytes": ("nan", "--cache-megabytes is nan"),
        "--timeout": ("inf", "timeout_s is inf"),
        "--max-prompts": ("0", "max_prompts is 0"),
        "--image-size": ("100", "multiple of 16"),
        "--host": ("no.such.host.invalid", "no.such.host.invalid:0 cannot be listened on"),
    }
    for option, (value, words) in cases.items():
        assert words in refused([*serve, option, value], here, capsys)
    assert "such as mobile_sam, or a path" in refused(["serve", "xyzzy", "--port", "0"], here, capsys)
