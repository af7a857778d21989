"""What `pip install` of a wheel gives: `samlet web` writes a page from it, and the page answers a click in Chromium."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from samlet.export.pipeline import export_model
from samlet.web import PageServer
from tests.web.node import HERE, ROOT, chromium, node, packages, run
from tests.web.small import small_sam

pytestmark = pytest.mark.slow

PATIENCE_S = 3600


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel of this repository is unpacked into, as pip does it, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # A copy: building leaves `build/` and `*.egg-info` behind, and takes along what lies there from before.
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    run([*pip, "wheel", str(source), "--no-deps", "--wheel-dir", str(folder)], timeout=PATIENCE_S)
    (wheel,) = folder.glob("samlet-*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)], timeout=PATIENCE_S)
    return folder / "site"


def asked(installed: Path, *arguments: str) -> str:
    """What a program with the wheel's samlet before any other prints."""
    settings = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return run([sys.executable, *arguments], cwd=installed.parent, env=settings, timeout=PATIENCE_S).stdout


@pytest.fixture(scope="module")
def page(installed: Path) -> Path:
    folder = installed.parent
    where = asked(installed, "-c", "import samlet; print(samlet.__file__)").strip()
    assert Path(where).is_relative_to(installed)
    export_model(small_sam(), folder / "onnx", "onnx", image_size=64, photographs=1, force=True)
    command = ["-m", "samlet", "web", str(folder / "onnx"), "--size", "64", "--weights", "float32", "--json"]
    told = json.loads(asked(installed, *command, "--out", str(folder / "page")))
    for entry in told["files"]:
        assert (folder / "page" / entry["path"]).stat().st_size == entry["bytes"]
    return folder / "page"


def test_the_wheel_holds_what_the_repository_does(installed: Path) -> None:
    (wheel,) = installed.parent.glob("samlet-*.whl")
    with zipfile.ZipFile(wheel) as content:
        held = set(content.namelist())
    package = ROOT / "src" / "samlet"
    for part in ("page", "runtime"):
        for path in (package / "web" / part).rglob("*"):
            if path.is_file():
                assert path.relative_to(package.parent).as_posix() in held
    assert not [name for name in held if "tests/" in name or "node_modules" in name]


def test_a_page_from_the_wheel_answers_a_click(page: Path) -> None:
    packages()
    with PageServer(page, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {**os.environ, "CHROMIUM": chromium(), "SAMLET_PAGE": server.url}
        told = json.loads(run([node(), str(HERE / "browser" / "click.mjs")], env=settings, timeout=PATIENCE_S).stdout)
        server.shutdown()
    assert told["problems"] == []
    assert told["missing"] == []
    assert told["message"].startswith("object 1: ")
    assert told["offline"] == "Works offline"
