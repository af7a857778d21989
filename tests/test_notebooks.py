"""The notebooks run from their first cell to their last, at a token size, and show pictures and bars."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import samlet
from tests.conftest import ROOT, make_tiny

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
SETTINGS = {"IMAGE_SIZE": "64", "STEPS": "2", "LIMIT": "2"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; the extra `test` brings it")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed; the extra `test` brings it")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    model = tmp_path / "model"
    samlet.save(make_tiny(), model)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = _smaller(first.source, model)
    folder = tmp_path / "examples" / "notebooks"
    folder.mkdir(parents=True)
    (tmp_path / "examples" / "photos").symlink_to(ROOT / "examples" / "photos")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert not [output for output in outputs if output.output_type == "error"]
    if "compare" not in path.name:
        assert "image/png" in kinds
    if "predict" not in path.name and _has_widgets():
        assert "application/vnd.jupyter.widget-view+json" in kinds


def _smaller(code: str, model: Path) -> str:
    """The cell of settings, with a small model and few steps."""
    assert code.startswith("MODEL"), "the first cell of code holds the settings"
    for name, value in SETTINGS.items():
        code = re.sub(rf"^{name} = \S+", f"{name} = {value}", code, flags=re.MULTILINE)
    code = re.sub(r'"(mobile_sam|samlet_s)"(?!:)', repr(str(model)), code)
    assert str(model) in code
    return code


def _has_widgets() -> bool:
    try:
        __import__("ipywidgets")
    except ImportError:
        return False
    return True
