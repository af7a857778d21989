"""Pictures of high bit depths."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.images import Reading, array_to_rgb, read_image, reading
from samlet.data.ranges import Range
from samlet.inference.predictor import as_rgb
from tests.conftest import make_tiny

EIGHT = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
EIGHT[0, 0], EIGHT[0, 1] = 0, 255


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_bits_in_sixteen(tmp_path, capsys, bits, ending):
    deep = (EIGHT.astype(np.float64) / 255 * (2**bits - 1)).round().astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / f"x.{ending}")
    found = read_image(tmp_path / f"x.{ending}")
    assert np.abs(found.astype(int) - EIGHT[..., None]).max() <= 1
    assert np.array_equal(as_rgb(deep), found)
    said = capsys.readouterr().err
    assert (f"{2**bits - 1} white ({bits} bits)" in said) == (bits < 16)


@pytest.mark.parametrize("high", [1.0, 255.0, 4095.0, 65535.0])
def test_floating_point(tmp_path, capsys, high):
    values = (EIGHT / 255 * high).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.abs(read_image(tmp_path / "x.tif").astype(int) - EIGHT[..., None]).max() <= 1
    assert f"{high:g} white" in capsys.readouterr().err


def test_floating_point_that_shoots_over_stays_in_its_range():
    values = EIGHT / 255 * 1.06 - 0.03
    assert np.abs(array_to_rgb(values)[..., 0].astype(int) - (values.clip(0, 1) * 255).round()).max() <= 1


def test_signed_values_span_from_least_to_most(capsys):
    values = EIGHT.astype(np.int16) * 16 - 1024
    assert np.abs(array_to_rgb(values)[..., 0].astype(int) - EIGHT).max() <= 1
    assert "-1024 black" in capsys.readouterr().err


def test_nan_is_black_and_told(capsys):
    values = EIGHT.astype(np.float32) / 255
    values[3, 4], values[5, 6] = np.nan, np.inf
    found = array_to_rgb(values, "this picture")
    assert (found[3, 4] == 0).all()
    assert (found[5, 6] == 255).all()
    assert "this picture: 2 values" in capsys.readouterr().err
    with pytest.raises(samlet.InputError, match="no finite value"):
        array_to_rgb(np.full((3, 3), np.nan))


def test_shapes_and_types_of_arrays():
    for values in (EIGHT, EIGHT[..., None], np.repeat(EIGHT[..., None], 4, 2), EIGHT > 100, EIGHT.astype(np.int64)):
        assert array_to_rgb(values).shape == (24, 32, 3)
    with pytest.raises(samlet.InputError, match=r"\(3, 24, 32\).*axis of colours to the end"):
        array_to_rgb(np.zeros((3, 24, 32), np.uint8))
    with pytest.raises(samlet.InputError, match="complex"):
        array_to_rgb(np.zeros((24, 32), complex))


def _deep_png(path, deep):
    """A PNG of three colours of 16 bits, which Pillow does not write."""
    import struct
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = deep.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_twelve_bits_in_sixteen(tmp_path, channels):
    deep = np.random.default_rng(1).integers(0, 4096, (20, 30, channels)).astype(np.uint16)
    _deep_png(tmp_path / "x.png", deep)
    expected = (deep[..., :3] * (255 / 4095)).round()
    assert np.array_equal(read_image(tmp_path / "x.png"), expected)
    assert np.array_equal(as_rgb(deep), expected)


def test_cases_of_high_bit_depth(shared):
    folder = shared / "cases" / "dark_high_bit"
    gray = read_image(folder / "gray8.png").astype(int)
    for name in ("gray12in16.tif", "float01.tif"):
        assert np.abs(read_image(folder / name) - gray).max() <= 1, name
    assert read_image(folder / "rgb12in16.tif").mean() > 100


def test_a_range_that_is_given():
    deep = EIGHT.astype(np.uint16) + 1000
    with reading(Reading(Range(1000, 1255))):
        assert np.array_equal(array_to_rgb(deep)[..., 0], EIGHT)
    with reading(Reading(Range.parse("percentile"))):
        assert 100 < array_to_rgb(deep * 3).mean() < 155
    for wrong in ("5,5", "9,1", "a,b", "1", "nan,3"):
        with pytest.raises(samlet.InputError, match="range"):
            Range.parse(wrong)


def test_the_command_line_reads_with_a_range(tmp_path, capsys):
    samlet.save(make_tiny(), tmp_path / "model")
    Image.fromarray(EIGHT.astype(np.uint16) + 1000).save(tmp_path / "x.png")
    Image.fromarray(EIGHT).save(tmp_path / "eight.png")
    rest = ["--model", str(tmp_path / "model"), "--point", "5,5"]
    for name, more in (("x", ["--range", "1000,1255"]), ("eight", [])):
        assert main(["segment", str(tmp_path / f"{name}.png"), "--out", str(tmp_path / name), *rest, *more]) == 0
    masks = [(tmp_path / name / "overlay.png").read_bytes() for name in ("x", "eight")]
    assert masks[0] == masks[1]
    assert main(["segment", str(tmp_path / "x.png"), "--out", str(tmp_path / "no"), *rest, "--range", "3,1"]) == 2
    assert "LOW below HIGH" in capsys.readouterr().err
