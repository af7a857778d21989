"""Downloading by zoo name, with the real hub client against a local server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import samlet
from samlet import zoo
from samlet.zoo import hub

TINYSAM = "/xinghaochen/tinysam/resolve/main/tinysam.pth"
VIT_B = "/facebook/sam-vit-base/resolve/main/"
LOCATE = "import sys; from samlet import zoo; print(zoo.locate(sys.argv[1]))"
COMPARE = """
import sys, torch, samlet
one, two = (samlet.load(name) for name in sys.argv[1:])
ours, theirs = one.state_dict(), two.state_dict()
same = one.config == two.config and ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
print("equal" if same else "different")
"""
# The command line, with the pauses between the client's retries added up instead of waited for.
IMPATIENT = """
import sys, time
from samlet.cli import main
pauses = []
time.sleep = pauses.append
code = main(sys.argv[1:])
print(sum(pauses))
sys.exit(code)
"""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        content, asked = self.server.files.get(self.path), self.headers.get("Range")
        if content is None:
            self.send_error(404)
            return
        kind = "sha1" if self.path.endswith(".json") else "sha256"  # small files have git's hash
        etag = f'"{hashlib.new(kind, content).hexdigest()}"'
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        headers = {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": len(content), "X-Repo-Commit": "c" * 40}
        headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        self.send_response(206 if asked else 200)
        for name, value in (headers | {"Content-Length": len(content) - start}).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.server.gets.append((self.path, asked))
            end = len(content) // 2 if self.server.cut else len(content)
            self.server.cut = False
            self.wfile.write((flip(content) if self.server.damage else content)[start:end])

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Hub(ThreadingHTTPServer):
    """A hub of a few files: `damage` flips a bit of every body, `cut` ends the next body halfway."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.damage, self.cut = files, False, False
        self.gets: list[tuple[str, str | None]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("published") / "tinysam.pth"
    samlet.save(samlet.load("mobile_sam"), path, format="mobile-sam")
    return path.read_bytes()


@pytest.fixture
def server(weights: bytes):
    with Hub({TINYSAM: weights, VIT_B + "config.json": b"{}", VIT_B + "model.safetensors": b"weights"}) as running:
        yield running
        running.shutdown()


def python(home: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user whose hub is on that port and whose cache is `home`."""
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE", "TRANSFORMERS_"))
    }
    env |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    env |= {f"HF_HUB_DISABLE_{what}": "1" for what in ("XET", "TELEMETRY", "PROGRESS_BARS")}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=120)


def test_first_use_downloads_and_later_uses_need_no_network(server, tmp_path):
    first = python(tmp_path, server.server_port, "-c", COMPARE, "tinysam", "mobile_sam")
    assert first.stdout == "equal\n", first.stderr
    assert server.gets == [(TINYSAM, None)]
    server.shutdown()
    server.server_close()
    second = python(tmp_path, server.server_port, "-c", COMPARE, "tinysam", "mobile_sam")
    assert second.stdout == "equal\n", second.stderr
    listed = python(tmp_path, server.server_port, "-m", "samlet", "models", "--json")
    available = {model["name"]: model["available"] for model in json.loads(listed.stdout)["models"]}
    assert (available["mobile_sam"], available["tinysam"], available["sam_vit_b"]) == (True, True, False)


def test_interrupted_download_continues(server, weights, tmp_path):
    server.cut = True
    answer = python(tmp_path, server.server_port, "-c", LOCATE, "tinysam")
    if answer.returncode != 0:  # some versions of the client continue at once, others on the next call
        answer = python(tmp_path, server.server_port, "-c", LOCATE, "tinysam")
    assert answer.returncode == 0, answer.stderr
    (_, whole), (_, rest) = server.gets
    assert whole is None
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= len(weights) // 2
    assert Path(answer.stdout.strip()).read_bytes() == weights


def test_damaged_download_is_refused_and_removed(server, weights, tmp_path):
    server.damage = True
    refused = python(tmp_path, server.server_port, "-m", "samlet", "cost", "tinysam")
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    found, expected = (hashlib.sha256(content).hexdigest() for content in (flip(weights), weights))
    assert line.startswith("samlet: tinysam.pth arrived damaged")
    assert f"is {found}, expected {expected}" in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= len(weights)]
    server.damage = False
    good = python(tmp_path, server.server_port, "-c", LOCATE, "tinysam")
    assert Path(good.stdout.strip()).read_bytes() == weights


def test_model_of_several_files_is_their_folder_and_never_a_part_of_it(server, tmp_path):
    last = server.files.pop(VIT_B + "model.safetensors")
    assert python(tmp_path, server.server_port, "-c", LOCATE, "sam_vit_b").returncode == 1
    assert server.gets == [(VIT_B + "config.json", None)]
    server.files[VIT_B + "model.safetensors"] = last
    answer = python(tmp_path, server.server_port, "-c", LOCATE, "sam_vit_b")
    assert answer.returncode == 0, answer.stderr
    found = {path.name: path.read_bytes() for path in Path(answer.stdout.strip()).iterdir()}
    assert found == {Path(path).name: body for path, body in server.files.items() if path.startswith(VIT_B)}


def test_without_a_network_the_error_says_what_to_do(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, but nobody listens
        answer = python(tmp_path, silent.getsockname()[1], "-c", IMPATIENT, "cost", "tinysam")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    *retries, line = answer.stderr.splitlines()
    assert not [retry for retry in retries if retry.startswith("samlet")]
    assert line.startswith("samlet: the weights of tinysam could not be downloaded from huggingface.co/xinghaochen/")
    assert re.search(r"[^.]\. Where there is no network, fetch tinysam\.pth .* pass its path instead of the name", line)
    assert float(answer.stdout) < 60


def test_blob_in_the_shared_store_is_checked_by_its_sha256(tmp_path):
    """Newer clients keep what came over Xet once for all repositories, under a hash that is no SHA-256."""
    expected = hashlib.sha256(b"weights").hexdigest()
    store, blob, path = (tmp_path / name for name in ("blobs/ee/" + "e" * 64, f"repo/blobs/{expected}", "repo/s/c/w"))
    for file in (store, blob, path):
        file.parent.mkdir(parents=True)
    store.write_bytes(b"weights")
    blob.symlink_to(f"../../blobs/ee/{store.name}")
    path.symlink_to(f"../../blobs/{expected}")
    hub.check(path)
    assert path.read_bytes() == b"weights"
    store.write_bytes(b"weight$")
    with pytest.raises(samlet.SamletError, match=f"w arrived damaged.*expected {expected}"):
        hub.check(path)
    assert not store.exists()
    assert not blob.is_symlink()


def test_what_needs_no_download_is_found_as_it_is(tmp_path):
    assert zoo.locate(tmp_path) == tmp_path
    assert (zoo.locate("mobile_sam") / "model.safetensors").is_file()
    with pytest.raises(samlet.InputError, match=r"'tinysan' is no model.*did you mean tinysam"):
        zoo.locate("tinysan")
