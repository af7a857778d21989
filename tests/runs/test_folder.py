"""The folder of a run: what a refusal leaves, what a continued one says, how Ctrl+C ends it."""

from __future__ import annotations

import pytest

from samlet.errors import InputError
from samlet.runs.folder import RunFolder


def ended_by(error, out, recipe, keep=False):
    """A run that something ends after it has begun."""
    folder = RunFolder.claim(out)
    with folder.locked():
        folder.begin(recipe)
        folder.note("probes", {"a": 1})
        if keep:
            kept = folder.folder / "checkpoints" / "x"
            kept.mkdir(parents=True)
            (kept / "1.safetensors").write_bytes(b"1")
        raise error


def refused(out, recipe, keep=False):
    with pytest.raises(InputError, match="no budget"):
        ended_by(InputError("no budget"), out, recipe, keep)


def test_a_run_that_is_refused_after_it_began_leaves_the_folder_free(tmp_path):
    out = tmp_path / "deep" / "out"
    refused(out, {"macs": 0.01})
    assert not list(tmp_path.iterdir())
    refused(out, {"macs": 0.02})


def test_a_run_with_checkpoints_stays_whatever_ends_it(tmp_path):
    refused(tmp_path / "out", {"macs": 0.3}, keep=True)
    assert (tmp_path / "out" / "run" / "checkpoints" / "x" / "1.safetensors").is_file()


def test_that_a_run_goes_on_is_said_only_where_something_was_kept(tmp_path, capsys):
    out = tmp_path / "out"
    for note, wanted in ((False, False), (True, False), (False, True)):
        folder = RunFolder.claim(out)
        with folder.locked():
            folder.begin({"macs": 0.3})
            if note:
                folder.note("probes", {"a": 1})
        assert ("continuing it" in capsys.readouterr().err) == wanted
    folder = RunFolder.claim(out, overwrite=True)
    with folder.locked():
        folder.begin({"macs": 0.5}, overwrite=True)
    assert "continuing" not in capsys.readouterr().err, "it begins again"


def test_ctrl_c_says_that_the_same_command_continues(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        ended_by(KeyboardInterrupt(), tmp_path / "out", {"macs": 0.3})
    assert "the same command continues" in capsys.readouterr().err
    assert (tmp_path / "out" / "run" / "run.json").is_file()
