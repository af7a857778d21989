"""Reading photographs; masks and their codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.data.images import find_images, read_image
from samlet.data.masks import bounding_box, decode_rle, encode_rle, interior_point, mask_iou, rle_from_segmentation
from samlet.data.transforms import Frame, preprocess


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new("RGB", (5, 3), (200, 200, 200)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (3, 5, 3)
    assert image.dtype == np.uint8
    assert abs(int(image.mean()) - 200) < 60


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((3, 5), 32896, np.uint16)).save(tmp_path / "x.png")
    assert (read_image(tmp_path / "x.png") == 128).all()


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (8, 4, 3)
    assert read_image(tmp_path / "x.jpg", upright=False).shape == (4, 8, 3)


def test_what_is_no_image(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(samlet.InputError, match=r"text\.jpg is not an image"):
        read_image(tmp_path / "text.jpg")
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(samlet.InputError, match=r"cut\.jpg is a damaged"):
        read_image(tmp_path / "cut.jpg")
    with pytest.raises(samlet.InputError, match="not a file"):
        read_image(tmp_path / "missing.jpg")


def test_folders(tmp_path, photo_folder):
    assert [p.name for p in find_images(photo_folder)] == [f"{i}.png" for i in range(6)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(samlet.InputError, match="holds no images"):
        find_images(tmp_path / "empty")
    with pytest.raises(samlet.InputError, match="not a folder"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("seed", range(4))
def test_rle_round_trip_and_box(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((37, 23), bool)
    y, x = rng.integers(0, 15, 2)
    mask[y : y + 9, x : x + 5] = rng.random((9, 5)) < 0.7
    code = encode_rle(mask)
    assert isinstance(code["counts"], str)
    assert code["size"] == [37, 23]
    assert (decode_rle(code) == mask).all()
    bx, by, bw, bh = bounding_box(mask)
    assert mask[by : by + bh, bx : bx + bw].sum() == mask.sum()
    assert mask[:, bx].any()
    assert mask[by + bh - 1].any()
    px, py = interior_point(mask)
    assert mask[py, px]


def test_every_form_of_coco_segmentation():
    mask = np.zeros((10, 12), bool)
    mask[2:6, 3:9] = True
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    for segmentation in (encode_rle(mask), {"size": [10, 12], "counts": counts}, [[3, 2, 9, 2, 9, 6, 3, 6]]):
        assert mask_iou(decode_rle(rle_from_segmentation(segmentation, 10, 12)), mask) == 1


def test_empty_masks():
    empty = np.zeros((4, 4), bool)
    assert bounding_box(empty) == (0, 0, 0, 0)
    assert mask_iou(empty, empty) == 1
    assert mask_iou(empty, ~empty) == 0


@pytest.mark.parametrize(("height", "width"), [(1200, 1800), (481, 321), (1, 300), (64, 64), (7, 5000)])
def test_preprocessing_frames_any_shape(height, width):
    image = np.full((height, width, 3), 100, np.uint8)
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    pixels, frame = preprocess(image, 256, mean, std)
    inner_h, inner_w = frame.resized
    assert pixels.shape == (3, 256, 256)
    assert max(inner_h, inner_w) == 256
    assert (pixels[:, :inner_h, :inner_w] == 100).all()
    assert pixels[:, inner_h:].abs().sum() == 0
    corner = frame.to_input(torch.tensor([[float(width), float(height)]]))
    assert torch.allclose(corner, torch.tensor([[float(inner_w), float(inner_h)]]))
    assert Frame(height, width, 256).upscale(torch.zeros(2, 3, 64, 64)).shape == (2, 3, height, width)
