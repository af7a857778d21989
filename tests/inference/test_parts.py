"""Grids, crops, suppression, windows, small regions, polygons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from scipy import ndimage

from samlet.data.masks import decode_rle, encode_rle
from samlet.data.polygons import to_polygons
from samlet.data.transforms import Frame
from samlet.inference.everything.grids import barren, checkerboard, crop_boxes, point_grid, sparse_subset, surroundings
from samlet.inference.everything.regions import remove_small_regions
from samlet.inference.everything.suppression import box_iou, suppress
from samlet.inference.windows import Upscaler
from samlet.reporting.overlay import draw_masks

RNG = np.random.default_rng(3)


def blobs(shape, seed, level=0.5):
    noise = np.random.default_rng(seed).random(shape)
    smooth = ndimage.gaussian_filter(noise, 3)
    return smooth > np.quantile(smooth, level)


def test_the_grid_lies_in_cell_centres():
    np.testing.assert_allclose(point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])


@pytest.mark.parametrize(("dense", "sparse"), [(32, 8), (32, 10), (16, 4), (8, 1), (7, 3), (1, 1), (5, 5)])
def test_the_sparse_subset_is_even_and_symmetric(dense, sparse):
    chosen = sparse_subset(dense, sparse).reshape(dense, dense)
    assert chosen.sum() == sparse**2 or (sparse % 2 and dense % 2 == 0)
    assert (chosen == chosen[::-1]).all()
    assert (chosen == chosen.T).all()


def test_surroundings_make_blocks_of_the_full_density():
    around = surroundings(32, 8, 1200, 1800)  # steps of 37 and 56 pixels, rounded down
    assert len(around) == 64 * 15
    x, y = around[:15].T
    assert set(x) == {112.5 - 56, 112.5, 112.5 + 56, 112.5 + 112}
    assert set(y) == {75 - 37, 75, 75 + 37, 75 + 74}
    assert (112.5, 75) not in set(zip(x, y, strict=True))
    everywhere = {tuple(point) for point in np.concatenate([around, point_grid(8) * [1800, 1200]])}
    assert len(everywhere) == 1024


@pytest.mark.parametrize(
    ("dense", "sparse", "size", "count"),
    [
        (32, 8, (480, 640), 31 * 31 - 64),  # the last column and row would lie on the image's edge
        (8, 8, (50, 60), 0),
        (9, 3, (90, 90), 9 * 8),
        (10, 4, (100, 100), 12 * 12 - 16),  # blocks of 3x3 for 2.5x2.5 points
        (32, 10, (500, 500), 39 * 39 - 100),  # and of 4x4 for 3.2x3.2, the last ones cut off
        (4, 1, (3, 3), 3 * 3 - 1),
    ],
)
def test_surroundings_of_other_grids(dense, sparse, size, count):
    around = surroundings(dense, sparse, *size)
    assert len(np.unique(around, axis=0)) == len(around) == count
    assert ((around >= 0) & (around < size[::-1])).all()


def test_crops_cover_the_image():
    boxes = crop_boxes(600, 900, 2, 512 / 1500)
    assert [layer for _, layer in boxes] == [0] + [1] * 4 + [2] * 16
    for wanted in (1, 2):
        covered = np.zeros((600, 900), bool)
        for (x0, y0, x1, y1), layer in boxes:
            if layer == wanted:
                covered[y0:y1, x0:x1] = True
        assert covered.all()
    assert boxes[1][0] == (0, 0, 552, 402)  # an overlap of int(512 / 1500 * 600) = 204 pixels


def test_suppression_is_idempotent_and_keeps_the_best():
    corners = RNG.random((200, 2)) * 100
    boxes = np.hstack([corners, corners + RNG.random((200, 2)) * 60])
    scores = RNG.random(200)
    kept = suppress(boxes, scores, 0.3)
    assert kept[0] == scores.argmax()
    again = suppress(boxes[kept], scores[kept], 0.3)
    assert again == list(range(len(kept)))
    for i in range(200):
        assert i in kept or (box_iou(boxes[i], boxes[kept])[scores[kept] > scores[i]] > 0.3).any()


def test_equal_scores_keep_their_order():
    assert suppress([[0, 0, 9, 9]] * 3, [1, 1, 1], 0.5) == [0]
    assert suppress([], [], 0.5) == []


@pytest.mark.parametrize("size", [(120, 90), (64, 64), (33, 700), (700, 33), (1, 50)])
def test_a_windows_mask_is_the_whole_upscaled_one(size):
    frame = Frame(*size, 256)
    logits = torch.from_numpy(ndimage.gaussian_filter(RNG.standard_normal((64, 64)), 4) * 60).float()
    logits[:, 40:] = -9
    upscaler = Upscaler(frame, (64, 64))
    rows, columns = upscaler.shape
    window = upscaler.window(logits[:rows, :columns], -1.0)
    found = upscaler.mask(window, 0.0, 1.0)
    whole = frame.upscale(logits.half().float()[None, None])[0, 0]
    mask = decode_rle(found.encode(*size))
    assert ((whole > 0).numpy() == mask).mean() > 0.9999
    stability = float((whole > 1).sum() / (whole > -1).sum().clamp(min=1))
    assert found.stability == pytest.approx(stability, abs=2e-3)


def test_logits_at_pixels_are_the_upscaled_ones():
    frame = Frame(120, 90, 256)
    logits = torch.from_numpy(ndimage.gaussian_filter(RNG.standard_normal((64, 64)), 4) * 60).float()
    logits[20:] = -9
    upscaler = Upscaler(frame, (64, 64))
    rows, columns = upscaler.shape
    window = upscaler.window(logits[:rows, :columns], -1.0, dtype=torch.float32)
    y, x = np.indices((120, 90)).reshape(2, -1)
    found = upscaler.logits_at(window, x, y)
    whole = frame.upscale(logits[None, None])[0, 0].numpy()[y, x]
    outside = np.isneginf(found)
    assert 0.1 < outside.mean() < 0.9
    assert whole[outside].max() <= -1
    np.testing.assert_allclose(found[~outside], whole[~outside], atol=1e-4)


def test_a_mask_of_nothing():
    upscaler = Upscaler(Frame(50, 80, 256), (64, 64))
    found = upscaler.mask(upscaler.window(torch.full((40, 64), -5.0), -1.0), 0.0, 1.0)
    assert not found.mask.any()
    assert found.box == (0, 0, 0, 0)


def test_small_regions():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[10:12, 10:12] = False  # a hole of 4
    mask[35, 35] = True  # an island of 1
    cleaned = remove_small_regions(mask, 5)
    assert cleaned.sum() == 625
    assert remove_small_regions(cleaned, 5) is cleaned
    assert remove_small_regions(mask, 700).sum() == 625  # the largest stays


@pytest.mark.parametrize("seed", range(6))
def test_rle_and_polygons_come_back(seed):
    mask = blobs((70, 90), seed)
    assert (decode_rle(encode_rle(mask)) == mask).all()
    polygons = to_polygons(mask)
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, 70, 90))
    assert (coco_mask.decode(merged).astype(bool) == mask).all()


def test_polygons_of_rings_and_corners():
    ring = np.zeros((9, 9), bool)
    ring[1:8, 1:8] = True
    ring[3:5, 3:5] = ring[6, 6] = False
    touching = np.array([[1, 0], [0, 1]], bool)
    for mask in (ring, touching, np.ones((1, 1), bool)):
        merged = coco_mask.merge(coco_mask.frPyObjects(to_polygons(mask), *mask.shape))
        assert (coco_mask.decode(merged).astype(bool) == mask).all()
    assert to_polygons(np.zeros((4, 4), bool)) == []


def test_the_overlay_takes_masks_and_codes_and_numbers():
    image = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    plain = draw_masks(image, [mask])
    assert (plain == draw_masks(image, [encode_rle(mask)])).all()
    assert (plain[~mask] == 100).all()
    assert (plain[10, 20:60] == 255).all()
    assert (plain[30, 40] != 100).any()
    assert (draw_masks(image, [mask], labels=True) != plain).any()


def test_barren_points_have_neighbours_that_gave_nothing():
    asked, fruitful = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    asked[1, 1] = asked[6, 6] = fruitful[6, 6] = True
    found = barren(asked.ravel(), fruitful.ravel()).reshape(9, 9)
    expected = np.zeros((9, 9), bool)
    expected[:4, :4] = True
    assert np.array_equal(found, expected)
    assert checkerboard(3).tolist() == [True, False, True, False, True, False, True, False, True]
