"""Which files are photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import open_dataset, plain_images
from samlet.data.folders import survey
from samlet.data.images import find_images, read_image
from samlet.data.sources import open_source
from tests.conftest import make_tiny

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
FLAT = np.zeros((24, 32), np.uint8)
FLAT[4:12, 4:20] = 1


def photo(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path, **options)


def test_postscript_under_another_name_is_never_opened(tmp_path, monkeypatch, capsys):
    from PIL import EpsImagePlugin

    def run(*_args, **_options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.jpg").write_bytes(script)
    with pytest.raises(samlet.InputError, match=r"photo\.jpg is PostScript"):
        read_image(tmp_path / "photo.jpg")
    samlet.save(make_tiny(), tmp_path / "model")
    common = ["--model", str(tmp_path / "model")]
    assert main(["segment", str(tmp_path / "photo.jpg"), "--point", "1,1", "--out", str(tmp_path / "o"), *common]) == 2
    assert "PostScript" in capsys.readouterr().err
    with pytest.raises(samlet.InputError, match="PostScript"):
        samlet.Predictor(make_tiny()).set_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("name", ["PCX", "TGA", "ICO", "SGI", "PDF"])
def test_other_formats_are_refused_by_name(tmp_path, name):
    Image.fromarray(NOISE).save(tmp_path / "x.png", format=name)
    with pytest.raises(samlet.InputError, match=r"expected JPEG, PNG") as found:
        read_image(tmp_path / "x.png")
    if name != "TGA":  # which begins with nothing of its own
        assert f"is {name}, which" in str(found.value)


@pytest.mark.parametrize("ending", ["jpg", "jfif", "png", "webp", "bmp", "tif", "gif", "jp2", "ppm", "avif"])
def test_every_format_alone_and_in_a_folder(tmp_path, ending):
    if ending == "avif":
        from PIL import features

        if not features.check("avif"):
            pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"x.{ending}"
    photo(path, format="JPEG" if ending == "jfif" else None)
    assert read_image(path).shape == NOISE.shape
    assert find_images(tmp_path) == [path]


def test_masks_hidden_files_and_copies_are_passed_over_and_named(tmp_path, capsys):
    for name in ("a.jpg", "b.avif" if "avif" in Image.registered_extensions() else "b.webp", "sub/c.jpg", "d.jpg"):
        photo(tmp_path / name)
    photo(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.jpg")
    photo(tmp_path / ".hidden.jpg")
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "masks/c.png", "d_mask.png"):
        Image.fromarray(FLAT * 255).save(tmp_path / name)
    photo(tmp_path / "d.png")  # in colour: a copy
    (tmp_path / "notes.txt").write_text("hello")
    found = survey(tmp_path)
    assert [p.stem for p in found.images] == ["a", "b", "d", "c"]
    reasons = {path.relative_to(tmp_path).as_posix(): why for path, why in found.passed_over.items()}
    assert reasons == {
        ".hidden.jpg": "a hidden file",
        ".ipynb_checkpoints": "a hidden folder",
        "notes.txt": "its name does not end as a photograph's",
        "a.png": "taken for a mask of a.jpg",
        "masks/c.png": "taken for a mask of sub/c.jpg",
        "d_mask.png": "taken for a mask of d.jpg",
        "d.png": "has the name of d.jpg, which is used; rename it if it is another picture",
    }
    capsys.readouterr()
    names = [p.name for p in found.images]
    find_images(tmp_path)
    assert [sample.path.name for sample in plain_images(tmp_path)] == names
    said = capsys.readouterr().err
    assert "4 photographs, 7 passed over" in said
    assert all(name in said for name in reasons)
    assert [entry.content.name for entry in open_source(tmp_path)] == names


def test_one_channel_photographs_of_their_own_are_used(tmp_path):
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(FLAT).save(tmp_path / "flat.png")
    photo(tmp_path / "other.jpg")
    assert len(find_images(tmp_path)) == 3


def test_masks_beside_photographs_still_are_label_maps(tmp_path, capsys):
    photo(tmp_path / "a.jpg")
    Image.fromarray(FLAT).save(tmp_path / "a.png")
    found = open_dataset(tmp_path)
    assert (found.kind, found.size) == ("label maps", 1)
    assert "passed over" not in capsys.readouterr().err


def pages(path, count=3):
    frames = [Image.fromarray(np.roll(NOISE, 5 * k, axis=1)) for k in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def test_pages(tmp_path, capsys):
    pages(tmp_path / "x.tif")
    assert np.array_equal(read_image(tmp_path / "x.tif"), NOISE)
    assert "3 pages" in capsys.readouterr().err
    assert np.array_equal(read_image(tmp_path / "x.tif", page=3), np.roll(NOISE, 10, axis=1))
    for wrong in (0, 4):
        with pytest.raises(samlet.InputError, match="page"):
            read_image(tmp_path / "x.tif", page=wrong or -1)
    entries = list(open_source(tmp_path))
    assert [entry.name for entry in entries] == [f"x-page-000{k}.tif" for k in (1, 2, 3)]
    assert np.array_equal(entries[1].read(), np.roll(NOISE, 5, axis=1))


def test_the_command_line_takes_a_page(tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "model")
    pages(tmp_path / "x.tif")
    Image.fromarray(np.roll(NOISE, 5, axis=1)).save(tmp_path / "second.png")
    rest = ["--model", str(tmp_path / "model"), "--point", "5,5"]
    for name, more in (("x.tif", ["--page", "2"]), ("second.png", [])):
        assert main(["segment", str(tmp_path / name), "--out", str(tmp_path / name[0]), *rest, *more]) == 0
    assert (tmp_path / "x" / "overlay.png").read_bytes() == (tmp_path / "s" / "overlay.png").read_bytes()
    assert main(["segment", str(tmp_path / "x.tif"), "--out", str(tmp_path / "n"), *rest, "--page", "9"]) == 2
    assert "expected 1 to 3" in capsys.readouterr().err
