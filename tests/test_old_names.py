"""Imports that documents once gave go on working."""

from __future__ import annotations

import subprocess
import sys

import samlet


def test_modules_that_moved():
    from samlet.inference.labelling import label

    assert label is samlet.label
    import samlet.inference.labelling as old

    import samlet.labelling.folder as new

    assert old is new


def test_export():
    from samlet.export import ExportConfig, export_model
    from samlet.export.config import ExportConfig as Config
    from samlet.export.pipeline import export_model as function

    assert (ExportConfig, export_model) == (Config, function)


def test_in_a_fresh_process():
    code = "from samlet.inference.labelling import label; import samlet; print(label is samlet.label)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
