"""What tests of the page need: node with the packages of `package.json`, and Chromium. Absent, they skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEAST_NODE = 20


def node() -> str:
    """Node, recent enough for the page's modules."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed; `make web-tools` installs what these tests need")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < LEAST_NODE:
        pytest.skip(f"node is {version.strip()}; expected at least {LEAST_NODE}")
    return found


def packages() -> Path:
    """The folder of the packages from npm."""
    folder = HERE / "node_modules"
    if not (folder / "playwright-core").is_dir():
        pytest.skip("tests/web/node_modules is missing; `make web-tools` installs it")
    return folder


def chromium() -> str:
    """Chromium's program, `$CHROMIUM` or on the path."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed; `make web-tools` installs it where it can")
    return found


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in this folder; what it says is part of the failure."""
    options.setdefault("cwd", HERE)
    done = subprocess.run(arguments, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done
