"""Uploading a model to a hub on this machine, and loading it from there by its name."""

from __future__ import annotations

import json
import socket
import sys

import pytest
from benchmarks.local_hub import LocalHub

import samlet
from samlet.cli import main
from tests.conftest import make_tiny

NAME = "someone/small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A slimmed model as it is written, with a run beside it that nobody else needs."""
    path = tmp_path_factory.mktemp("push") / "small"
    samlet.save(make_tiny(), path, provenance={"method": "drawn", "parents": [{"name": "mobile_sam"}]})
    (path / "report.md").write_text("# report")
    (path / "notes.txt").write_text("mine")
    (path / "run").mkdir()
    (path / "run" / "run.json").write_text("{}")
    return path


@pytest.fixture
def server(hub_server: LocalHub, monkeypatch) -> LocalHub:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol that only the hub itself speaks
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return hub_server


def test_what_is_pushed_is_loaded_by_its_name(server, folder, capsys):
    assert main(["push", str(folder), NAME, "--private", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    held = server.commits[NAME, server.branches[NAME, "main"]]
    assert told["commit"] == server.branches[NAME, "main"]
    assert told["url"] == f"{server.url}/{NAME}"
    assert set(held) == {"README.md", "config.json", "model.safetensors", "provenance.json", "report.md"}
    assert {one["path"]: one["bytes"] for one in told["files"]} == {
        name: len(content) for name, content in held.items() if name != "README.md"
    }
    assert held["README.md"].decode() == told["card"]
    assert "license: apache-2.0" in told["card"]
    assert server.created[0]["visibility"] == "private"
    assert samlet.load(NAME).fingerprint() == make_tiny().fingerprint()


def test_a_card_of_ones_own_stays(server, folder):
    server.put(NAME, {"README.md": b"# mine"})
    assert samlet.push_to_hub(folder, NAME).card == ""
    assert server.commits[NAME, server.branches[NAME, "main"]]["README.md"] == b"# mine"
    assert samlet.push_to_hub(folder, NAME, replace_card=True).card.startswith("---\nlicense")
    assert b"# small" in server.commits[NAME, server.branches[NAME, "main"]]["README.md"]


def test_the_token_is_not_sent_to_where_large_files_are_stored(server, folder):
    store = LocalHub()
    server.large = store.large
    server.store = store.url
    try:
        samlet.push_to_hub(folder, NAME)
    finally:
        store.stop()
    assert set(server.tokens) == {"Bearer hf_secret"}
    assert store.puts == [None]
    assert server.commits[NAME, server.branches[NAME, "main"]]["model.safetensors"]


def test_a_dry_run_shows_the_card_and_asks_nobody(hub_server, folder, capsys):
    assert main(["push", str(folder), NAME, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "# small" in printed
    assert "nothing was uploaded; these files would be: config.json" in printed
    assert hub_server.asked == []


def told(capsys, folder, code: int, *words: str) -> str:
    assert main(["push", str(folder), *(words or [NAME])]) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_pushed_is_told_in_one_line(server, folder, tmp_path, capsys, monkeypatch):
    assert "expected hf://ORG/NAME" in told(capsys, folder, 2, "small")
    assert "expected ORG/NAME" in told(capsys, folder, 2, f"{NAME}@main")
    assert "is no folder" in told(capsys, tmp_path / "absent", 2)
    (tmp_path / "empty").mkdir()
    assert "holds no model" in told(capsys, tmp_path / "empty", 2)
    server.refusal = 401
    assert "nothing was uploaded: " in (line := told(capsys, folder, 1))
    assert "401 Unauthorized; set HF_TOKEN" in line
    server.refusal = 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in told(capsys, folder, 1)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN")
    assert "set HF_TOKEN" in told(capsys, folder, 2)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Connection refused" in told(capsys, folder, 1)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'samlet[hf]'" in told(capsys, folder, 2)


def test_a_refusal_half_way_is_one_line(server, folder, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.local_hub._Handler._commit", lambda self, *_: self.send_error(403))
    assert main(["push", str(folder), NAME]) == 1
    line = capsys.readouterr().err.splitlines()[-1]  # below the bar of the upload
    assert line.startswith(f"samlet: the upload to {server.url} failed: ")
    assert "403" in line
