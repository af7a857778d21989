"""Pages of small models: what is in the folder, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import json
import socket
import threading
import tomllib
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import samlet
from samlet.checkpoints.int8 import round_channels
from samlet.cli import main
from samlet.errors import InputError
from samlet.export.pipeline import export_model
from samlet.export.stored_weights import store_weights
from samlet.models import DecoderConfig, Sam, SamConfig, ViTConfig
from samlet.runtimes import ExportedSam
from samlet.web import PageServer, WebConfig, make_page
from samlet.web.folder import FILES, check_folder, page_folder, write_listing
from samlet.web.limits import check_tensors, check_weights, largest_tensor
from tests.conftest import make_efficient, make_tiny
from tests.web.node import ROOT
from tests.web.small import small_sam

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "onnx"
    export_model(small_sam(), folder, "onnx", image_size=64, photographs=1, force=True)
    return folder


def test_int8_has_a_scale_an_output_channel() -> None:
    values = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    values[2] = 0
    rounded, scale = round_channels(values)
    assert scale.shape == (6,)
    assert rounded.abs().max() <= 127
    assert not rounded[2].any()

    def error(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return (codes * scales[:, None, None] - values).square().sum(dim=(1, 2))

    largest = values.abs().amax(dim=(1, 2)) / 127
    plain = (values / largest.clamp(min=1e-12)[:, None, None]).round()
    assert (error(rounded, scale) <= error(plain, largest) + 1e-9).all()


@pytest.mark.parametrize("stored", ["int8", "float16"])
def test_small_weights_compute_nearly_the_same(exported: Path, tmp_path: Path, stored: str) -> None:
    for part, inputs in (("encoder", {"image": np.random.default_rng(0).normal(size=(1, 3, 64, 64))}), ("decoder", {})):
        path = tmp_path / f"{part}.onnx"
        path.write_bytes((exported / f"{part}.onnx").read_bytes())
        store_weights(path, stored)  # type: ignore[arg-type]
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        assert path.stat().st_size < (exported / f"{part}.onnx").stat().st_size
        large = [numpy_helper.to_array(entry) for entry in model.graph.initializer if np.prod(entry.dims) >= 1024]
        assert {str(values.dtype) for values in large} & {stored}
        if not inputs:
            continue
        feeds = {name: values.astype(np.float32) for name, values in inputs.items()}
        first, second = (
            onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
            for file in (exported / f"{part}.onnx", path)
        )
        noise = np.square(first - second).sum() / np.square(first).sum()
        assert 0 < noise < (1e-2 if stored == "int8" else 1e-5)


def test_the_folder_is_whole_and_says_what_is_in_it(exported: Path, tmp_path: Path) -> None:
    made = make_page(ExportedSam(exported), tmp_path / "page", name="small", size=64, weights="float32")
    listing = json.loads((made.folder / FILES).read_text())
    for entry in listing["files"]:
        assert (made.folder / entry["path"]).stat().st_size == entry["bytes"]
    for name in ("index.html", "app.js", "sw.js", "style.css", "runtime/LICENSE", "runtime/ort.wasm.gz"):
        assert name in made.files
    assert made.first_load_bytes == sum(made.files[name] for name in listing["first_load"])
    assert not [name for name in listing["first_load"] if name.startswith("photos/")]
    about = json.loads((made.folder / "model" / "model.json").read_text())
    assert about["size"] == 64
    assert about["embedding"] == ["embedding"]
    logits = np.frombuffer(gzip.decompress((made.folder / "model" / about["reference"]["file"]).read_bytes()), "<f4")
    assert logits.size == np.prod(about["reference"]["shape"])
    assert gzip.decompress((made.folder / "runtime" / "ort.wasm.gz").read_bytes())[:4] == b"\0asm"


def test_nothing_is_fetched_from_elsewhere() -> None:
    page = Path(samlet.__file__).parent / "web" / "page"
    for path in page.rglob("*"):
        if path.suffix in (".js", ".html", ".css", ".webmanifest"):
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, path
            assert "https://" not in text, path


def fill(folder: Path, *names: str) -> None:
    with page_folder(folder, overwrite=True) as temporary:
        for name in names:
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_text(name)
        write_listing(temporary, [])


def test_a_wheel_holds_the_page_and_its_runtime() -> None:
    package = ROOT / "src" / "samlet"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    globs = settings["package-data"]["samlet"]
    held = {path for pattern in globs for path in package.glob(pattern)}
    for part in ("page", "runtime"):
        files = [path for path in (package / "web" / part).rglob("*") if path.is_file()]
        assert files
        assert set(files) <= held


def test_a_folder_in_use_is_refused_and_an_earlier_page_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    (folder / ".git").mkdir(parents=True)
    fill(folder, "index.html", "old/a.js")
    with pytest.raises(InputError, match="Pass --overwrite"):
        make_page(make_tiny(), folder, size=64)
    fill(folder, "index.html", "new/b.js")
    assert {path.name for path in folder.iterdir()} == {".git", "index.html", "new", FILES}
    (folder / "letters.txt").write_text("mine")
    with pytest.raises(InputError, match=r"letters\.txt; nothing was written"):
        fill(folder, "index.html")
    with pytest.raises(InputError, match="is a file"):
        check_folder(folder / "letters.txt", overwrite=True)
    assert (folder / "new" / "b.js").is_file()
    with pytest.raises(RuntimeError), page_folder(tmp_path / "other", overwrite=False):
        raise RuntimeError
    assert not list(tmp_path.glob("other*"))
    assert not list(tmp_path.glob(".samlet-*"))


def test_what_a_browser_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="400 MB of float32 weights, too large for a browser; expected at most 200"):
        check_weights(100_000_000)
    blocks = {"qk_dims": (64,) * 8, "v_dims": (64,) * 8, "mlp_dims": (4096,) * 8, "num_heads": (16,) * 8}
    encoder = ViTConfig(image_size=64, embed_dim=1024, scale_dim=64, global_blocks=(), **blocks)
    with torch.device("meta"):
        large = Sam(SamConfig(encoder=encoder, decoder=DecoderConfig()))
    with pytest.raises(InputError, match="too large for a browser"):
        make_page(large, tmp_path / "page", size=64)


def test_the_largest_tensor_of_an_encoder(exported: Path) -> None:
    largest = largest_tensor(exported / "encoder.onnx", 64)
    assert 4 * 3 * 64 * 64 / 4 < largest < 2**22
    check_tensors(exported / "encoder.onnx", 64)


def test_global_attention_at_full_size_is_refused(tmp_path: Path) -> None:
    heads, tokens = 12, (1024 // 16) ** 2
    scores = onnx.helper.make_tensor_value_info("image", 1, ["images", heads, tokens, tokens])
    out = onnx.helper.make_tensor_value_info("embedding", 1, ["images", heads, tokens, tokens])
    nodes = [
        onnx.helper.make_node("Softmax", ["image"], ["weights"]),
        onnx.helper.make_node("Relu", ["weights"], ["embedding"]),
    ]
    graph = onnx.helper.make_graph(nodes, "attention", [scores], [out])
    onnx.save_model(onnx.helper.make_model(graph), str(tmp_path / "encoder.onnx"))
    with pytest.raises(InputError, match=r"768 MiB, too large for a browser; expected at most 128 MiB"):
        check_tensors(tmp_path / "encoder.onnx", 1024)


def test_models_that_make_no_page(tmp_path: Path) -> None:
    efficient = make_efficient()
    with pytest.raises(InputError, match="which samlet cannot export"):
        make_page(efficient, tmp_path / "page", size=efficient.image_size)
    with pytest.raises(InputError, match="multiple of 16"):
        make_page(make_tiny(), tmp_path / "page", size=500)
    with pytest.raises(InputError, match="weights 'int4' is unknown"):
        WebConfig(weights="int4")  # type: ignore[arg-type]
    assert not (tmp_path / "page").exists()


def test_the_server_isolates_and_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "secret.txt").write_text("no")
    (tmp_path / "page" / "index.html").write_text("<p>page</p>")
    (tmp_path / "page" / "a.mjs").write_text("")
    with PageServer(tmp_path / "page", 0) as server, contextlib.redirect_stderr(io.StringIO()) as said:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
        answers = {}
        for path in ("/", "/a.mjs", "/../secret.txt", "/%2e%2e/secret.txt"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answers[path] = (answer.status, dict(answer.getheaders()), answer.read())
        server.shutdown()
    status, headers, body = answers["/"]
    assert (status, body) == (200, b"<p>page</p>")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answers["/a.mjs"][1]["Content-type"] == "text/javascript"
    assert answers["/../secret.txt"][0] == answers["/%2e%2e/secret.txt"][0] == 404
    assert "404" in said.getvalue()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert main(["web", "mobile_sam", "--out", str(tmp_path / "page"), "--serve", str(port)]) == 2
    assert (
        said.getvalue()
        == f"samlet: port {port} is in use by another program; name another one, or 0 for any that is free\n"
    )
    assert not (tmp_path / "page").exists()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(["web", "mobile_sam", "--out", str(tmp_path / "page"), "--serve", "70000"]) == 2
        assert main(["web", "mobile_sam"]) == 2
    assert "port is 70000" in said.getvalue()
    assert "neither --out nor --serve" in said.getvalue()


def test_a_page_that_is_there_is_shown_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<p>")
    (page / "files.json").write_text(json.dumps({"format": "samlet-web", "files": [{"path": "index.html"}]}))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(["web", str(page)]) == 2
        assert main(["web", str(page), "--serve", "0", "--out", str(tmp_path / "o")]) == 2
    assert said.getvalue().count(f"{page} is a page already and no model; `samlet web {page} --serve` shows it") == 2
    assert not (tmp_path / "o").exists()
    monkeypatch.chdir(tmp_path)
    page.rename("mobile_sam")  # a name of the zoo means the model, whatever is called so here
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(["web", "mobile_sam"]) == 2
    assert "neither --out nor --serve" in said.getvalue()
    Path("mobile_sam").rename(page)
    fetched = []

    def once(server: PageServer) -> None:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with urllib.request.urlopen(server.url + "index.html") as answer:
            fetched.append(answer.read())

    monkeypatch.setattr(PageServer, "serve_forever", once)
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(io.StringIO()):
        assert main(["web", str(page), "--serve", "0", "--json"]) == 0
    assert fetched == [b"<p>"]
    assert json.loads(shown.getvalue())["url"].startswith("http://127.0.0.1:")


def test_the_command_line_answers_by_its_contract(exported: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        out = str(tmp_path / "page")
        assert main(["web", str(exported), "--out", out, "--size", "64", "--weights", "float32", "--json"]) == 0
    told = json.loads(said.getvalue())
    assert {"files", "first_load_bytes", "url"} <= told.keys()
    assert told["url"] is None
    assert {"path", "bytes"} == told["files"][0].keys()
    with contextlib.redirect_stderr(io.StringIO()) as said_:
        assert main(["web", str(exported), "--out", str(tmp_path / "other"), "--size", "128"]) == 2
    assert "image size 128 is not allowed" in said_.getvalue()
