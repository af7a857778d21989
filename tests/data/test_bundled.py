"""The photographs of the package, copied to where the documentation has them."""

from __future__ import annotations

import json

import pytest

from samlet.cli import main
from samlet.data.bundled import CLICKS, bundled_photographs, copy_photographs
from samlet.errors import InputError
from tests.conftest import PHOTOS, ROOT


def test_every_photograph_has_clicks_and_an_origin():
    names = [path.name for path in bundled_photographs()]
    assert sorted(CLICKS) == names
    origins = (PHOTOS / "ORIGINS.md").read_text(encoding="utf-8")
    assert all(name in origins for name in names)


def test_the_command_copies_them_to_where_the_documentation_has_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["photos", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["photographs"]
    for source, copy in zip(bundled_photographs(), made, strict=True):
        assert (tmp_path / copy).read_bytes() == source.read_bytes()
    assert (tmp_path / "examples/photos/ORIGINS.md").read_bytes() == (PHOTOS / "ORIGINS.md").read_bytes()
    assert len(list((tmp_path / "examples/photos").iterdir())) == len(made) + 1
    assert main(["photos"]) == 0  # once more changes nothing
    assert "examples/photos: astronaut.jpg, bee.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["segment", "examples/photos/dogs.jpg", "--point", "3,3", "--image-size", "64"],
        ["slim", "--teacher", "mobile_sam", "--images", "examples/photos", "--steps", "2"],
    ],
)
def test_who_has_no_photographs_hears_where_they_are(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--out", "o"]) == 2
    err = capsys.readouterr().err
    assert err.endswith("; `samlet photos` copies the photographs of the package to examples/photos\n")
    assert err.count("\n") == 1
    (tmp_path / "examples/photos").mkdir(parents=True)
    assert main(["segment", "examples/photos/none.jpg", "--point", "3,3", "--out", "o"]) == 2
    assert "samlet photos" not in capsys.readouterr().err


def test_in_a_clone_they_are_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    before = {path: path.stat().st_mtime_ns for path in PHOTOS.iterdir()}
    assert main(["photos"]) == 0
    assert {path: path.stat().st_mtime_ns for path in PHOTOS.iterdir()} == before


def test_files_of_others_are_kept(tmp_path, capsys):
    (tmp_path / "dogs.jpg").write_text("mine")
    with pytest.raises(InputError, match=r"dogs.jpg is another file than samlet's; nothing was copied. Name a new"):
        copy_photographs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dogs.jpg"]
    assert main(["photos", "--out", str(tmp_path / "dogs.jpg")]) == 2
    assert "dogs.jpg is a file; expected a folder" in capsys.readouterr().err
