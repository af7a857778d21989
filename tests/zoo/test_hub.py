"""Downloading by zoo name, from a local server that answers as the hub does."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks.local_hub import DEADLINE, Get, LocalHub, flip

import samlet
from samlet import zoo
from samlet.cli import main
from samlet.errors import InputError
from samlet.zoo import download, environment, transport
from tests.conftest import PHOTOS

TINYSAM = "xinghaochen/tinysam"
VIT_B = "facebook/sam-vit-base"
CONFIG = b'{"model_type": "sam"}'
CONTENT = bytes(range(256)) * 4096
OTHER = bytes(reversed(CONTENT))
PINS = "xinghaochen--tinysam.json"
REMEDY = (
    "Where there is no network, fetch tinysam.pth of huggingface.co/xinghaochen/tinysam on another machine, "
    "copy the file or folder here and pass its path instead of the name"
)


@pytest.fixture
def server(hub_server: LocalHub) -> LocalHub:
    """A hub with two models of the zoo."""
    hub_server.put(TINYSAM, {"tinysam.pth": CONTENT})
    hub_server.put(VIT_B, {"config.json": CONFIG, "model.safetensors": b"weights"})
    return hub_server


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", ())


def names(cache: Path) -> set[str]:
    """Of all files, without blobs, which are files by another name."""
    return {path.name for path in cache.rglob("*") if path.is_file() and path.parent.name != "blobs"}


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupt(server: LocalHub, after: int) -> None:
    """Download a beginning of the weights, in a call that then gives up."""
    server.cuts = [after]
    with pytest.raises(samlet.SamletError, match=f"ended after {after} of {len(CONTENT)} bytes"):
        zoo.locate("tinysam")
    server.gets.clear()


ASKING = ("evaluate", "tinysam", "--data", str(PHOTOS), "--reference", "mobile_sam")
"""A command that needs the weights; `cost` counts without."""


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_first_use_downloads_and_later_uses_need_no_network(server, cache, tmp_path):
    original = samlet.load("mobile_sam")
    samlet.save(original, tmp_path / "published.pth", format="mobile-sam")
    server.put(TINYSAM, {"tinysam.pth": (tmp_path / "published.pth").read_bytes()})
    for _ in range(2):
        loaded = samlet.load("tinysam")
        assert loaded.config == original.config
        ours, theirs = loaded.state_dict(), original.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert server.gets == [Get("tinysam.pth", None, None)]
        server.stop()
    assert names(cache) == {"tinysam.pth", "main", PINS}
    available = [zoo.is_available(zoo.find(name)) for name in ("mobile_sam", "tinysam", "sam_vit_b")]
    assert available == [True, True, False]


def test_downloads_go_where_the_environment_says(monkeypatch, tmp_path, cache):
    shared = tmp_path / "hf" / "hub"
    assert environment.cache_folders() == (cache, shared)
    monkeypatch.delenv("SAMLET_CACHE")
    assert environment.cache_folders() == (shared,)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert environment.cache_folders() == (tmp_path / "elsewhere",)
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.cache_folders() == (tmp_path / "huggingface" / "hub",)
    assert environment.own_folder() == tmp_path / "samlet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment.cache_folders() == (tmp_path / ".cache" / "huggingface" / "hub",)
    assert environment.own_folder() == tmp_path / ".cache" / "samlet"


def test_what_early_versions_downloaded_is_found(cache):
    old = cache / "xinghaochen--tinysam" / "tinysam.pth"
    old.parent.mkdir(parents=True)
    old.write_bytes(CONTENT)
    assert zoo.locate("tinysam") == old
    assert zoo.is_available(zoo.find("tinysam"))


@pytest.mark.usefixtures("one_attempt")
def test_interrupted_download_continues_in_the_next_call(server, cache):
    interrupt(server, after=1000)
    assert names(cache) == {"tinysam.pth.part", "tinysam.pth.part.json"}
    assert not zoo.is_available(zoo.find("tinysam"))
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == ["bytes=1000-"]
    assert names(cache) == {"tinysam.pth", "main", PINS}


def test_killed_download_continues_in_another_process(server, cache):
    server.cuts = [len(CONTENT) // 2]
    server.proceed.clear()
    part = cache / "models--xinghaochen--tinysam" / ".samlet" / "tinysam.pth.part"
    with subprocess.Popen([sys.executable, "-c", "from samlet import zoo; zoo.locate('tinysam')"]) as process:
        wait_for(lambda: part.exists() and part.stat().st_size)
        process.kill()
    size = part.stat().st_size
    assert 0 < size <= len(CONTENT) // 2
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == [None, f"bytes={size}-"]


def test_interruptions_are_bridged_within_a_call_while_bytes_arrive(server):
    server.cuts = [1000, 500, 1]
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == [None, "bytes=1000-", "bytes=1500-", "bytes=1501-"]


def test_a_call_gives_up_when_no_bytes_arrive(server):
    server.cuts = [1000, 0, 1, 1]
    with pytest.raises(samlet.SamletError, match="ended after 1000 of"):
        zoo.locate("tinysam")
    assert server.ranges_asked == [None, "bytes=1000-"]


def test_a_call_gives_up_after_a_few_interruptions(server):
    server.cuts = [1000, 1, 1, 1, 1]
    with pytest.raises(samlet.SamletError, match="ended after 1003 of"):
        zoo.locate("tinysam")
    assert len(server.gets) == 4


@pytest.mark.usefixtures("one_attempt")
def test_silent_server_is_left_and_what_came_is_kept(server, cache, monkeypatch):
    server.proceed.clear()
    for timeout in (0.3, 3, 30, 300):  # on a busy machine the beginning, too, takes its time
        monkeypatch.setattr(transport, "TIMEOUT", timeout)
        server.cuts = [1000]
        with pytest.raises(samlet.SamletError, match="timed out"):
            zoo.locate("tinysam")
        if [part.stat().st_size for part in cache.rglob("*.part")] == [1000]:
            break
    monkeypatch.setattr(transport, "TIMEOUT", DEADLINE)
    server.gets.clear()
    server.cuts = []
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == ["bytes=1000-"]


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("changed", [OTHER, OTHER[:1500], OTHER[:500]], ids=["as-long", "shorter", "tiny"])
def test_changed_remote_file_starts_afresh(server, cache, changed):
    interrupt(server, after=1000)
    server.put(TINYSAM, {"tinysam.pth": changed})
    assert zoo.locate("tinysam").read_bytes() == changed
    assert server.ranges_asked == ["bytes=1000-", None]
    assert names(cache) == {"tinysam.pth", "main", PINS}


@pytest.mark.usefixtures("one_attempt")
def test_part_of_unknown_origin_starts_afresh(server, cache):
    interrupt(server, after=1000)
    (sidecar,) = cache.rglob("*.part.json")
    sidecar.write_text("{")
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == [None]


@pytest.mark.usefixtures("one_attempt")
def test_server_that_ignores_ranges_is_read_from_the_beginning(server):
    server.ranges = False
    interrupt(server, after=1000)
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == ["bytes=1000-"]


@pytest.mark.usefixtures("one_attempt")
def test_whole_part_is_only_checked(server, cache):
    interrupt(server, after=1000)
    (part,) = cache.rglob("*.part")
    part.write_bytes(CONTENT)
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.gets == []


def test_damaged_download_is_refused_and_removed(server, cache, capsys):
    server.damage = True
    line = complaint(capsys, *ASKING)
    found, expected = (hashlib.sha256(content).hexdigest() for content in (flip(CONTENT), CONTENT))
    assert line.startswith(f"samlet: tinysam.pth arrived damaged: its SHA-256 is {found}, expected {expected}")
    assert names(cache) == set()
    server.damage = False
    assert zoo.locate("tinysam").read_bytes() == CONTENT


def test_full_disk_keeps_what_arrived(server, cache):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
    try:
        with pytest.raises(samlet.SamletError, match=r"could not be written: File too large.*SAMLET_CACHE"):
            zoo.locate("tinysam")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (part,) = cache.rglob("*.part")
    size = part.stat().st_size
    assert size > 0
    assert zoo.locate("tinysam").read_bytes() == CONTENT
    assert server.ranges_asked == [None, f"bytes={size}-"]


def test_two_downloads_at_once_are_one(server, capsys):
    server.cuts = [1000]
    server.proceed.clear()
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(zoo.locate("tinysam"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: ", which writes " in capsys.readouterr().err)
    wait_for(lambda: server.gets)
    assert server.ranges_asked == [None]
    server.proceed.set()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in found] == [CONTENT, CONTENT]
    assert server.ranges_asked == [None, "bytes=1000-"]


def test_model_of_several_files_is_their_folder_and_never_a_part_of_it(server):
    files = server.commits[VIT_B, server.branches[VIT_B, "main"]]
    last = files.pop("model.safetensors")
    with pytest.raises(samlet.SamletError, match=r"fetch config\.json and model\.safetensors of"):
        zoo.locate("sam_vit_b")
    assert not zoo.is_available(zoo.find("sam_vit_b"))
    files["model.safetensors"] = last
    folder = zoo.locate("sam_vit_b")
    assert [get.name for get in server.gets] == ["config.json", "model.safetensors"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": CONFIG,
        "model.safetensors": b"weights",
    }
    assert zoo.is_available(zoo.find("sam_vit_b"))


@pytest.mark.parametrize("token", ["hf_secret\n", "", None])
def test_token_goes_to_the_endpoint_and_to_no_other_host(server, monkeypatch, token):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    zoo.locate("sam_vit_b")
    sent = "Bearer hf_secret" if token else None
    assert server.tokens == [sent, sent]
    assert server.gets == [Get("config.json", None, sent), Get("model.safetensors", None, None)]


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(monkeypatch, capsys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, but nobody listens
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(download, "time", None)  # with which it would wait before another attempt
        line = complaint(capsys, *ASKING)
    assert line.startswith("samlet: the weights of tinysam could not be downloaded from huggingface.co/xinghaochen/")
    assert "Connection refused. " in line
    assert line.endswith(REMEDY)


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "Unauthorized; set HF_TOKEN"), (403, "Forbidden; set HF_TOKEN"), (404, "Not Found. ")]
)
def test_refusal_is_told_with_its_status(server, capsys, status, reason):
    server.refusal = status
    line = complaint(capsys, *ASKING)
    assert f"{TINYSAM}/resolve/main/tinysam.pth was answered with {status} {reason}" in line
    assert line.endswith(REMEDY)


def test_endpoint_that_is_no_address_is_told(monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert f"nonsense/{TINYSAM}" in complaint(capsys, *ASKING)


def test_what_needs_no_download_is_found_as_it_is(tmp_path):
    assert zoo.locate(tmp_path) == tmp_path
    assert (zoo.locate("mobile_sam") / "model.safetensors").is_file()
    with pytest.raises(samlet.InputError, match=r"'tinysan' is no model.*did you mean tinysam"):
        zoo.locate("tinysan")


def test_without_a_home_folder_downloads_have_a_place_among_temporary_files(monkeypatch, tmp_path):
    for name in ("HF_HOME", "XDG_CACHE_HOME", "SAMLET_CACHE", "HF_HUB_CACHE", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))

    def unknown(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(environment.Path, "expanduser", unknown)
    (folder,) = environment.cache_folders()
    assert folder == tmp_path / f"cache-of-{os.getuid()}" / "huggingface" / "hub"
    (tmp_path / f"cache-of-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(InputError, match="belongs to somebody else; name a folder for downloads in SAMLET_CACHE"):
        environment.cache_folders()
