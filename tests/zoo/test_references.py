"""Models by the name of their repository on the hub: found, fetched, kept to, and shared with other tools."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.local_hub import LocalHub, flip

import samlet
from samlet import zoo
from samlet.cli import main
from samlet.zoo import environment, registry
from samlet.zoo.contents import model_files
from samlet.zoo.reference import HubReference, parse_reference
from tests.conftest import PHOTOS, make_tiny

NAME = "someone/small"
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """Those of a small model, and what else stands in a repository."""
    folder = tmp_path_factory.mktemp("model") / "small"
    samlet.save(make_tiny(), folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {".gitattributes": b"", "README.md": b"# small", **found}


@pytest.fixture
def server(hub_server: LocalHub, files) -> LocalHub:
    hub_server.put(NAME, dict(files))
    return hub_server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubReference("org/name")),
        ("hf://org/name", HubReference("org/name")),
        ("org/name@main", HubReference("org/name", "main")),
        (f"org/name@{COMMIT}", HubReference("org/name", COMMIT)),
        ("org/name@refs/pr/3", HubReference("org/name", "refs/pr/3")),
        ("org/name@feature%2Fx", HubReference("org/name", "feature/x")),
        ("org/name@v1/sub/a.pth", HubReference("org/name", "v1", "sub/a.pth")),
        ("org/name/a.pth", HubReference("org/name", "", "a.pth")),
        ("hf://tests/zoo", HubReference("tests/zoo")),
        ("tests/nothing", None),  # `tests` is a folder here
        ("org/name.pth", None),
        ("runs/small/model", None),
        ("./org/name", None),
        ("/org/name", None),
        ("~/org", None),
        ("mobile_sam", None),
        ("org/name/../x.pth", None),
        ("org/na--me", None),
    ],
)
def test_what_is_a_repository_and_what_a_path(text, expected, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert parse_reference(text) == expected
    if expected is not None:
        assert parse_reference(f"hf://{expected}".replace("feature/x", "feature%2Fx")) == expected


def test_a_prefix_before_nonsense_is_told():
    with pytest.raises(samlet.InputError, match=r"'hf://nonsense' names no repository.*hf://ORG/NAME"):
        zoo.locate("hf://nonsense")


def test_a_wrong_path_is_no_question_to_the_hub(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(samlet.InputError, match=r"no file or folder.*hf://ORG/NAME"):
        zoo.locate("runs/smal")
    assert server.asked == []


def test_a_repository_is_a_model_in_python_and_in_commands(server, files, tmp_path, capsys):
    sam = samlet.load(NAME)
    assert sam.fingerprint() == make_tiny().fingerprint()
    assert {get.name for get in server.gets} == {"config.json", "model.safetensors", "provenance.json"}
    server.stop()
    assert main(["cost", NAME, "--no-measure", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["encoder"]["parameters"] > 0
    assert cost["file_bytes"] == len(files["model.safetensors"])
    out = tmp_path / "masks"
    words = ["segment", str(PHOTOS / "cat.jpg"), "--point", "50,50", "--model", NAME, "--out", str(out), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["masks"]
    words = ["evaluate", NAME, "--data", str(PHOTOS), "--limit", "1", "--reference", f"hf://{NAME}", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["miou"]["single"] == 1


def test_a_bare_name_keeps_to_what_it_first_meant_and_a_branch_moves(server, files):
    first = server.branches[NAME, "main"]
    weights = (zoo.locate(NAME) / "model.safetensors").stat()
    second = server.put(NAME, {**files, "README.md": b"# better"})
    server.gets.clear()
    assert zoo.locate(NAME).name == first
    moved = zoo.locate(f"{NAME}@main")
    assert moved.name == second
    assert (moved / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert (moved / "model.safetensors").stat() == weights  # what had not changed was not written again
    assert zoo.locate(f"{NAME}@{first}").name == first
    assert zoo.locate(NAME).name == first


def test_a_branch_is_taken_from_the_cache_where_there_is_no_network(server, capsys):
    first = zoo.locate(f"{NAME}@main")
    server.stop()
    assert zoo.locate(f"{NAME}@main") == first
    assert f"{NAME}@main is taken as it was at {first.name[:12]}" in capsys.readouterr().err


def test_without_the_cache_the_first_commit_is_fetched_again_and_must_be_the_same(server, files):
    folder = zoo.locate(NAME)
    server.put(NAME, {**files, "model.safetensors": b"another"})
    for blob in folder.parents[1].rglob("*"):
        if not blob.is_dir():
            blob.unlink()
    folder.rmdir()
    assert zoo.locate(NAME).name == folder.name
    stored = server.commits[NAME, folder.name]
    stored["model.safetensors"] = flip(stored["model.safetensors"])
    for blob in folder.parents[1].rglob("*"):
        if not blob.is_dir():
            blob.unlink()
    with pytest.raises(samlet.SamletError, match=r"model\.safetensors is not what someone/small held: its SHA-256 is"):
        zoo.locate(NAME)


def test_a_first_commit_that_is_gone_from_the_hub_is_told(server, files):
    folder = zoo.locate(NAME)
    shutil.rmtree(folder.parents[1])
    del server.commits[NAME, folder.name]
    now = server.put(NAME, {**files, "README.md": b"# again"})
    with pytest.raises(samlet.SamletError, match=rf"first used, {folder.name[:12]}, is gone.*{NAME}@main, or delete"):
        zoo.locate(NAME)
    assert zoo.locate(f"{NAME}@main").name == now


@pytest.mark.usefixtures("server")
def test_a_file_that_was_changed_here_is_refused():
    weights = zoo.locate(NAME) / "model.safetensors"
    content = weights.read_bytes()
    before = weights.stat()
    weights.resolve().write_bytes(flip(content))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    with pytest.raises(samlet.SamletError, match=r"not what someone/small held.*Delete .* to fetch it again"):
        zoo.locate(NAME)
    weights.resolve().unlink()
    assert zoo.locate(NAME).joinpath("model.safetensors").read_bytes() == content


@pytest.mark.parametrize("right", [True, False])
def test_a_digest_that_the_zoo_knows_is_checked(server, monkeypatch, right):
    content = b"weights of a kind" * 100
    commit = server.put("xinghaochen/tinysam", {"tinysam.pth": content})
    digest = hashlib.sha256(content if right else flip(content)).hexdigest()
    entry = replace(registry.ENTRIES["tinysam"], revision=commit, sha256=(("tinysam.pth", digest),))
    monkeypatch.setitem(registry.ENTRIES, "tinysam", entry)
    server.put("xinghaochen/tinysam", {"tinysam.pth": b"moved on"})
    if right:
        assert zoo.locate("tinysam").read_bytes() == content
        assert zoo.is_available(entry)
    else:
        with pytest.raises(samlet.SamletError, match="as samlet knows it"):
            zoo.locate("tinysam")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_is_one_clear_line_and_the_cache_still_serves(server, monkeypatch, capsys, name):
    monkeypatch.setenv(name, "1")
    for model in (NAME, "sam_vit_b", f"{NAME}@main"):
        assert main(["evaluate", model, "--data", str(PHOTOS), "--reference", "mobile_sam"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name} is set, and the model is not in " in line
    assert server.asked == []
    monkeypatch.delenv(name)
    folder = zoo.locate(f"{NAME}@main")
    monkeypatch.setenv(name, "on")
    server.asked.clear()
    assert zoo.locate(NAME) == zoo.locate(f"{NAME}@main") == folder
    assert server.asked == []


def test_the_cache_is_shared_with_hugging_faces_own_tools(server, files, monkeypatch, tmp_path):
    tools = pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("SAMLET_CACHE")
    folder = zoo.locate(NAME)
    shared = environment.cache_folders()[0]
    assert shared == tmp_path / "hf" / "hub"
    for name in ("config.json", "model.safetensors"):  # theirs finds ours, without asking anybody
        assert Path(tools.try_to_load_from_cache(NAME, name, cache_dir=shared)) == folder / name
    (repository,) = tools.scan_cache_dir(shared).repos
    assert {file.file_name for revision in repository.revisions for file in revision.files} == {
        "config.json",
        "model.safetensors",
        "provenance.json",
    }
    server.put("someone/other", dict(files))
    api = tools.HfApi(endpoint=server.url, token=False)
    for name in ("config.json", "model.safetensors"):
        api.hf_hub_download("someone/other", name, cache_dir=shared)
    server.stop()
    assert samlet.load("someone/other").fingerprint() == make_tiny().fingerprint()  # and we find theirs


def test_the_token_comes_from_the_environment_or_the_file_of_the_hubs_own_tools(monkeypatch, tmp_path):
    assert environment.token() is None
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_file\n")
    assert environment.token() == "hf_file"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert environment.token() is None
    monkeypatch.setenv("HF_TOKEN", " hf_given ")
    assert environment.token() == "hf_given"
    (tmp_path / "elsewhere").write_text("hf_elsewhere")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert environment.token() == "hf_elsewhere"


def test_without_a_named_endpoint_the_token_is_for_the_hub_over_tls(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert environment.endpoint() == "https://huggingface.co"


def test_the_token_is_not_sent_on_to_another_port(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    store = LocalHub()
    store.commits = server.commits
    server.store = store.url  # the same host, another port
    try:
        zoo.locate(NAME)
    finally:
        store.stop()
    assert set(server.tokens) == {"Bearer hf_secret"}
    assert [(get.name, get.token) for get in store.gets] == [("model.safetensors", None)]
    assert store.tokens == []


def test_a_repository_that_nobody_may_read_or_that_is_not_there(server, capsys):
    server.refusal = 401
    assert main(["cost", NAME]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "401 Unauthorized; set HF_TOKEN" in line
    assert line.startswith(f"samlet: {NAME} is no file or folder here, and could not be downloaded from the Hugging")
    server.refusal = 0
    with pytest.raises(samlet.SamletError, match=r"someone/absent is no file or folder here.*404"):
        zoo.locate("someone/absent")
    with socket.socket() as silent, pytest.MonkeyPatch.context() as patch:
        silent.bind(("127.0.0.1", 0))
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(samlet.SamletError, match="Connection refused"):
            zoo.locate(NAME)


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(server):
    server.put("someone/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"w"})
    with pytest.raises(samlet.InputError, match="someone/bert is a model of the type 'bert'; expected sam, sam2"):
        zoo.locate("someone/bert")
    assert [get.name for get in server.gets] == ["config.json"]


def test_names_that_lead_out_of_the_folder_are_refused(server):
    server.put("someone/bad", {"../../evil.pth": b"w"})
    with pytest.raises(samlet.SamletError, match="no list of files"):
        zoo.locate("someone/bad")


def test_a_server_that_does_not_say_its_commit_is_refused(server):
    server.tells_commit = False
    server.put("xinghaochen/tinysam", {"tinysam.pth": b"w" * 100})
    with pytest.raises(samlet.SamletError, match="does not say which commit"):
        zoo.locate("tinysam")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["README.md", "config.json", "model.safetensors"], ("config.json", "model.safetensors")),
        (
            ["config.json", "model.safetensors", "preprocessor_config.json", "pytorch_model.bin", "tf_model.h5"],
            ("config.json", "preprocessor_config.json", "model.safetensors"),
        ),
        (["config.json", "pytorch_model.bin"], ("config.json", "pytorch_model.bin")),
        (
            ["config.json", "model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors"],
            (
                "config.json",
                "model.safetensors.index.json",
                "model-1-of-2.safetensors",
                "model-2-of-2.safetensors",
            ),
        ),
        (
            ["README.md", "comparison.png", "decoder.onnx", "encoder.onnx", "export.json"],
            ("export.json", "decoder.onnx", "encoder.onnx"),
        ),
        (["decoder.onnx", "encoder.onnx"], ("decoder.onnx", "encoder.onnx")),
        (["README.md", "weights/sam.pth"], ("weights/sam.pth",)),
    ],
)
def test_the_files_of_a_model(names, expected):
    assert model_files(names, NAME) == expected


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.pth", "b.pth"], "several checkpoints; name one of them: someone/small/a.pth, someone/small/b.pth"),
        (["README.md"], r"no model that samlet reads \(README.md\); expected config.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "low-rank adapters"),
        ([], "nothing"),
    ],
)
def test_a_repository_without_one_model(names, told):
    with pytest.raises(samlet.InputError, match=told):
        model_files(names, NAME)


def test_one_of_several_checkpoints_is_named_with_the_repository(server, tmp_path):
    samlet.save(samlet.load("mobile_sam"), tmp_path / "a.pth", format="mobile-sam")
    server.put("someone/many", {"a.pth": (tmp_path / "a.pth").read_bytes(), "b.pth": b"b"})
    with pytest.raises(samlet.InputError, match="several"):
        zoo.locate("someone/many")
    assert samlet.load("someone/many/a.pth").config == samlet.load("mobile_sam").config
