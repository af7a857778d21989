"""A folder as people have them: 40 odd files, each used or named with the reason."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.datasets import plain_images
from samlet.data.images import find_images, is_readable
from samlet.training.batches import ImageDataset
from tests.conftest import make_tiny

RNG = np.random.default_rng(0)
FLAGS = ["--points-per-side", "2", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--image-size", "64"]


def noise(height=24, width=32, channels=3):
    coarse = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)[..., :channels].squeeze()


def write_odd_files(folder):
    """Fills a folder; returns names of what must be used, fail, and be passed over."""
    folder.mkdir()
    rgb, grey = Image.fromarray(noise()), Image.fromarray(noise(channels=1))
    used, failed, passed = [], [], []

    def save(image, name, **options):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, **options)
        used.append(name)

    for ending in ("jpg", "jpeg", "png", "webp", "bmp", "gif", "jp2", "ppm", "tif"):
        save(rgb, f"plain-{ending}.{ending}")
    save(rgb, "saved.jfif", format="JPEG")
    save(rgb, "UPPER.JPG")
    if "AVIF" in Image.SAVE or ".avif" in Image.registered_extensions():
        save(rgb, "modern.avif")
    save(grey, "grey.png")
    save(rgb.convert("P"), "palette.png")
    save(rgb.convert("RGBA"), "transparent.png")
    save(rgb.convert("CMYK"), "print.tif")
    save(rgb.convert("1"), "bilevel.png")
    save(Image.fromarray(noise(channels=1).astype(np.uint16) * 16), "twelve.tif")
    save(Image.fromarray(noise(channels=1).astype(np.uint16) * 257), "sixteen.png")
    save(Image.fromarray(noise(channels=1).astype(np.float32) / 255), "float.tif")
    values = noise(channels=1).astype(np.float32)
    values[2, 3] = np.nan
    save(Image.fromarray(values), "float-nan.tif")
    save(Image.fromarray(noise(channels=1).astype(np.int32) - 1000), "signed.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(rgb, "turned.jpg", exif=exif)
    save(Image.fromarray(noise(30, 1)), "one-wide.png")
    save(Image.fromarray(noise(1, 1)), "one-pixel.png")
    save(rgb, "Ünïcödé with spaces 照片.jpg")
    save(rgb, "sub/deeper/inside.jpg")
    (folder / "misnamed.png").write_bytes((folder / "plain-jpg.jpg").read_bytes())
    used.append("misnamed.png")
    pages = [Image.fromarray(np.roll(noise(), k)) for k in range(3)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    used += [f"pages-page-000{k}.tif" for k in (1, 2, 3)]
    pages[0].save(folder / "moving.gif", save_all=True, append_images=pages[1:])
    used.append("moving.gif")

    def spoil(name, content):
        (folder / name).write_bytes(content)
        failed.append(name)

    spoil("photo.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    spoil("paper.png", b"%PDF-1.4\n")
    spoil("text.jpg", b"hello")
    spoil("empty.jpg", b"")
    spoil("torn.jpg", (folder / "plain-jpg.jpg").read_bytes()[:200])
    spoil("page.webp", b"<!DOCTYPE html><html></html>")
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(folder / "all-nan.tif")
    failed.append("all-nan.tif")

    flat = np.zeros((24, 32), np.uint8)
    flat[5:15, 5:20] = 255
    (folder / "masks").mkdir()
    for name in ("plain-jpg.png", "masks/UPPER.png", "turned_mask.png"):
        Image.fromarray(flat).save(folder / name)
        passed.append(name)
    for name in (".hidden.jpg", "notes.txt", "data.json", "clip.mp3"):
        (folder / name).write_bytes((folder / "plain-jpg.jpg").read_bytes())
        passed.append(name)
    (folder / ".ipynb_checkpoints").mkdir()
    rgb.save(folder / ".ipynb_checkpoints" / "a-checkpoint.jpg")
    passed.append(".ipynb_checkpoints")
    if hasattr(os, "symlink"):
        (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
        failed.append("dangling.jpg")
    return used, failed, passed


@pytest.fixture
def odd(tmp_path):
    return tmp_path / "odd", *write_odd_files(tmp_path / "odd")


def test_segment_ends_with_a_table_of_all_files(odd, tmp_path, capsys):
    folder, used, failed, passed = odd
    assert len(used) + len(failed) + len(passed) >= 40
    samlet.save(make_tiny(), tmp_path / "m")
    arguments = ["segment", str(folder), "--everything", "--model", str(tmp_path / "m"), *FLAGS, "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    for what, names in (("failed", failed), ("passed over", passed)):
        for name in names:
            assert any(row.startswith(name) and f"  {what}  " in row for row in table.splitlines()), name
    assert f"{len(used)} " in table
    lines = [json.loads(line) for line in (tmp_path / "out" / "masks.jsonl").read_text().splitlines()]
    assert sorted(line["image"] for line in lines) == sorted(used)
    assert next(line for line in lines if line["image"] == "turned.jpg")["height"] == 32
    reasons = json.loads((tmp_path / "out" / "failures.json").read_text())["failed"]
    assert set(reasons) == set(failed)
    assert "PostScript" in reasons["photo.jpg"]
    assert "PDF" in reasons["paper.png"]
    assert "no finite value" in reasons["all-nan.tif"]


def test_every_command_takes_the_same_files(odd, capsys):
    folder, used, failed, passed = odd
    found = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    pages = [name for name in used if "-page-" in name]
    assert sorted(found) == sorted({*used, *failed, "pages.tif"} - set(pages))
    said = capsys.readouterr().err
    assert f"{len(passed)} passed over" in said
    assert [sample.path for sample in plain_images(folder)] == find_images(folder)
    assert sorted(p.relative_to(folder).as_posix() for p in find_images(folder) if not is_readable(p)) == sorted(failed)
    sam = make_tiny()
    source = ImageDataset(find_images(folder), 64, sam.pixel_mean, sam.pixel_std)
    names = {photograph.path.name for photograph in source.sample(len(found))}
    too_small = {"one-pixel.png"}
    assert names == {name.rpartition("/")[2] for name in found if name not in failed} - too_small
    assert {path.name for path in source.skipped} == {*failed} | too_small
